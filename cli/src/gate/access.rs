//! `allow`: who may pass.

use std::fmt;

use cloakroom::auth::Requirement;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

/// The users who may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Anyone,
    Nobody,
    /// Logged-in users who meet this.
    Users(Requirement),
}

const EXPECTED: &str = "\"anyone\", \"login\", \"staff\", \"superuser\", \"nobody\", {group = \"…\"}, {permission = \"…\"}, \
                        {any = […]} or {all = […]}";

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
        struct Given;

        impl<'de> Visitor<'de> for Given {
            type Value = Access;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "allow = {EXPECTED}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Access, E> {
                match text {
                    "anyone" => Ok(Access::Anyone),
                    "nobody" => Ok(Access::Nobody),
                    _ => Needed::deserialize(StrDeserializer::new(text)).map(|Needed(it)| Access::Users(it)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Access, A::Error> {
                Needed::deserialize(MapAccessDeserializer::new(map)).map(|Needed(it)| Access::Users(it))
            }
        }

        deserializer.deserialize_any(Given)
    }
}

/// A requirement for a logged-in user.
struct Needed(Requirement);

impl<'de> Deserialize<'de> for Needed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Needed, D::Error> {
        struct Given;

        impl<'de> Visitor<'de> for Given {
            type Value = Needed;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Needed, E> {
                match text {
                    "login" => Ok(Needed(Requirement::login())),
                    "staff" => Ok(Needed(Requirement::staff())),
                    "superuser" => Ok(Needed(Requirement::superuser())),
                    "anyone" | "nobody" => {
                        Err(E::custom(format!("{text:?} stands alone; it is not a part of any or all")))
                    }
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Needed, A::Error> {
                let kind: Option<String> = map.next_key()?;
                let requirement = match kind.as_deref() {
                    Some("group") => Requirement::group(named(map.next_value()?)?),
                    Some("permission") => Requirement::permission(permission(map.next_value()?)?),
                    Some("any") => Requirement::any_of(parts(map.next_value()?)?),
                    Some("all") => Requirement::all_of(parts(map.next_value()?)?),
                    Some(other) => {
                        let known = &["group", "permission", "any", "all"];
                        return Err(A::Error::unknown_field(other, known));
                    }
                    None => return Err(A::Error::invalid_value(Unexpected::Map, &self)),
                };
                if let Some(second) = map.next_key::<String>()? {
                    return Err(A::Error::custom(format!(
                        "{second:?} is a second requirement; join them with {{any = […]}} or {{all = […]}}"
                    )));
                }
                Ok(Needed(requirement))
            }
        }

        deserializer.deserialize_any(Given)
    }
}

fn named<E: Error>(name: String) -> Result<String, E> {
    if name.is_empty() { Err(E::custom("the name is empty; write the group's name")) } else { Ok(name) }
}

fn permission<E: Error>(name: String) -> Result<String, E> {
    match name.split_once('.') {
        Some((app, codename)) if !app.is_empty() && !codename.is_empty() => Ok(name),
        _ => Err(E::custom(format!(
            "the permission {name:?} names no app; write APP.CODENAME, such as wiki.change_page"
        ))),
    }
}

/// Django's `any([])` lets nobody pass and `all([])` anyone: either is a slip here.
fn parts<E: Error>(parts: Vec<Needed>) -> Result<Vec<Requirement>, E> {
    if parts.is_empty() {
        return Err(E::custom("the list is empty; write its requirements"));
    }
    Ok(parts.into_iter().map(|Needed(part)| part).collect())
}
