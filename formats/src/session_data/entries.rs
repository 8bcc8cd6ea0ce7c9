//! Ordered keys and values.

use indexmap::IndexMap;

use crate::value::{Text, Value};

/// Up to this many keys are compared one by one: faster than hashing, with one allocation instead of two.
const FEW: usize = 16;

/// An ordered dictionary: small ones are a list, larger ones an [`IndexMap`].
#[derive(Clone)]
pub(super) enum Entries {
    Few(Vec<(Text, Value)>),
    /// Boxed, because a store in memory reserves room for the largest variant in each session.
    Many(Box<IndexMap<Text, Value>>),
}

impl Entries {
    #[inline]
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Entries::Few(list) => list.iter().find(|entry| entry.0.is(key)).map(|entry| &entry.1),
            Entries::Many(map) => map.get(key),
        }
    }

    /// Sets a value; an existing key keeps its position.
    #[inline]
    pub(super) fn insert(&mut self, key: Text, value: Value) -> Option<Value> {
        // Entries of a small dictionary are written in place, without an intermediate copy.
        match self {
            Entries::Few(list) if list.len() < FEW && list.iter().all(|entry| entry.0 != key) => {
                if list.is_empty() {
                    list.reserve(FEW / 2);
                }
                list.push((key, value));
                None
            }
            _ => self.replace_or_grow(key, value),
        }
    }

    #[inline(never)]
    fn replace_or_grow(&mut self, key: Text, value: Value) -> Option<Value> {
        match self {
            Entries::Few(list) => {
                if let Some(entry) = list.iter_mut().find(|entry| entry.0 == key) {
                    return Some(std::mem::replace(&mut entry.1, value));
                }
                let mut map: IndexMap<_, _> = std::mem::take(list).into_iter().collect();
                map.insert(key, value);
                *self = Entries::Many(Box::new(map));
                None
            }
            Entries::Many(map) => map.insert(key, value),
        }
    }

    /// Removes a value; the others keep their order.
    pub(super) fn remove(&mut self, key: &str) -> Option<Value> {
        match self {
            Entries::Few(list) => {
                let position = list.iter().position(|entry| entry.0.is(key))?;
                Some(list.remove(position).1)
            }
            Entries::Many(map) => map.shift_remove(key),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Entries::default();
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Entries::Few(list) => list.len(),
            Entries::Many(map) => map.len(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &Value)> + Clone {
        let (list, map) = match self {
            Entries::Few(list) => (list.as_slice(), None),
            Entries::Many(map) => (&[][..], Some(&**map)),
        };
        list.iter().map(|(key, value)| (key, value)).chain(map.into_iter().flatten())
    }
}

impl Default for Entries {
    #[inline]
    fn default() -> Self {
        Entries::Few(Vec::new())
    }
}

/// Equal regardless of order, as Python's dictionaries.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(key, value)| other.get(key.as_str()).is_some_and(|theirs| theirs == value))
    }
}

impl Eq for Entries {}
