//! The parameters of a store's URL: the part after the `?`.

use std::str::FromStr;

use super::path::unquoted;
use crate::site::error::{StoreError, StoreErrorKind};

/// The parameters of one URL, of which each is taken once. One that nobody takes is an error that names it.
pub(in crate::store) struct Parameters {
    store: &'static str,
    list: Vec<(String, String)>,
    /// Whether a name may be shown. The rest of a password with a `?` would follow here too.
    are_parameters: bool,
}

impl Parameters {
    /// Splits `address?name=value&name=value` and decodes the values' percent codes. A plus sign is itself.
    pub(in crate::store) fn of(store: &'static str, url: &str) -> Result<(String, Parameters), StoreError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let pairs = || query.split('&').filter(|pair| !pair.is_empty());
        let are_parameters = !query.contains('@') && pairs().all(|pair| pair.contains('='));
        let mut list = Vec::new();
        for pair in pairs() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let shown = if are_parameters { name } else { "text after `?`" };
            let text = |text: &str| String::from_utf8(unquoted(text));
            let (Ok(name), Ok(value)) = (text(name), text(value)) else {
                return Err(invalid(
                    store,
                    shown,
                    "is not UTF-8 once its percent codes are decoded",
                    "UTF-8",
                ));
            };
            list.push((name, value));
        }
        Ok((address.to_owned(), Parameters { store, list, are_parameters }))
    }

    /// Takes a parameter's value.
    ///
    /// # Errors
    /// When the URL has it twice: it is unclear which counts.
    pub(in crate::store) fn take(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let mut values: Vec<String> =
            self.list.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect();
        let value = values.pop();
        match values.pop() {
            Some(_) => Err(invalid(self.store, name, "is there twice", "one value")),
            None => Ok(value),
        }
    }

    /// Takes the name of a thing in a database, such as a table's.
    pub(in crate::store) fn take_name(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        match self.take(name)? {
            Some(value) if value.is_empty() || value.contains('\0') => {
                Err(invalid(self.store, name, "is not a name", "a name without quotes"))
            }
            value => Ok(value),
        }
    }

    /// Takes the value of a parameter that has several names, such as `ssl-ca` and `ssl_ca`.
    pub(in crate::store) fn take_one_of(&mut self, names: &[&str]) -> Result<Option<String>, StoreError> {
        let mut found: Option<(&str, String)> = None;
        for name in names {
            let Some(value) = self.take(name)? else { continue };
            if let Some((other, _)) = found {
                let what = format!("says what `{other}` says too");
                return Err(invalid(self.store, name, &what, "one of the two"));
            }
            found = Some((name, value));
        }
        Ok(found.map(|(_, value)| value))
    }

    /// Takes and parses a parameter's value. `allowed` names the values that there are, for the error.
    pub(in crate::store) fn take_parsed<T: FromStr>(
        &mut self,
        name: &str,
        allowed: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(invalid(self.store, name, "has no such value", allowed)),
        }
    }

    /// Refuses a parameter that is left. `known` are those that the store takes, for the error.
    pub(in crate::store) fn finish(self, known: &[&str]) -> Result<(), StoreError> {
        let Some((name, _)) = self.list.into_iter().next() else { return Ok(()) };
        let name =
            if self.are_parameters { format!("parameter `{name}`") } else { "text after `?`".to_owned() };
        let message = format!(
            "the URL's {name} is not known; there are {}. Write a `?` that belongs to a password or a path as `%3F`",
            known.join(", ")
        );
        Err(StoreError::new(self.store, StoreErrorKind::Misconfigured, message))
    }
}

/// The error for a parameter that says something impossible. It shows no value, which may be a secret.
pub(in crate::store) fn invalid(store: &'static str, name: &str, what: &str, allowed: &str) -> StoreError {
    let message = format!("the URL's parameter `{name}` {what}; write {allowed}");
    StoreError::new(store, StoreErrorKind::Misconfigured, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Parameters {
        Parameters::of("redis", url).unwrap().1
    }

    #[test]
    fn each_parameter_is_taken_once() {
        let (address, mut parameters) =
            Parameters::of("redis", "redis://a/1?b=1%262&&version=3&c=x+y").unwrap();
        assert_eq!(address, "redis://a/1");
        assert_eq!(parameters.take("b").unwrap().as_deref(), Some("1&2"));
        assert_eq!(parameters.take("b").unwrap(), None);
        assert_eq!(parameters.take_one_of(&["d", "c"]).unwrap().as_deref(), Some("x+y"));
        assert_eq!(parameters.take_parsed::<u32>("version", "a number").unwrap(), Some(3));
        parameters.finish(&[]).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |error: StoreError| error.to_string();
        let unknown = error(of("redis://a?verzion=3&b=1").finish(&["version", "db"]).unwrap_err());
        assert!(unknown.contains("`verzion` is not known; there are version, db"), "{unknown}");
        let twice = error(of("redis://a?version=3&version=4").take("version").unwrap_err());
        assert!(twice.contains("`version` is there twice"), "{twice}");
        let both = error(of("redis://a?ssl-ca=x&ssl_ca=y").take_one_of(&["ssl-ca", "ssl_ca"]).unwrap_err());
        assert!(both.contains("`ssl_ca` says what `ssl-ca` says too"), "{both}");
        let number =
            error(of("redis://a?version=hunter2").take_parsed::<u32>("version", "a number").unwrap_err());
        assert!(number.contains("`version` has no such value; write a number"), "{number}");
        assert!(!number.contains("hunter2"), "{number}");
        assert!(Parameters::of("redis", "redis://a?b=%ff").is_err());
    }

    #[test]
    fn the_rest_of_a_password_is_not_shown() {
        for url in ["redis://:p?hunter2@a/1", "redis://:p?hunter=2@a/1", "redis://a?hunter2&b=1"] {
            let unknown = of(url).finish(&["db"]).unwrap_err().to_string();
            assert!(unknown.contains("text after `?`") && !unknown.contains("hunter"), "{unknown}");
        }
    }
}
