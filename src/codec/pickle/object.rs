//! What a pickle describes, before it is turned into a session.

use std::borrow::Cow;

use super::PickleError;
use super::class::Class;
use crate::value::Kind;

/// A place in [`Objects`].
pub(super) type Id = u32;

/// One Python object. Containers refer to what they contain, so sharing costs nothing and nothing nests.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, little-endian, as short as possible and longer than 8 bytes.
    Long(Cow<'a, [u8]>),
    Float(f64),
    /// UTF-8 in which surrogates may stand alone, Python's `surrogatepass`.
    Str(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    ByteArray(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Keys and values in turn.
    Dict(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    /// A class or function by itself; legal only on the way to something else.
    Class(Class),
    /// A class with the arguments that make the value. They were checked.
    Made(Class, Vec<Id>),
    /// A UUID; empty until its state has been set.
    Uuid(Option<Uuid>),
}

/// A UUID's number, and how far the machine vouches for its uniqueness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uuid {
    pub(super) number: u128,
    pub(super) is_safe: Option<i64>,
}

impl Object<'_> {
    /// What to call it; an error for what is no value.
    pub(super) fn kind(&self) -> Result<Kind, PickleError> {
        Ok(match self {
            Object::None => Kind::None,
            Object::Bool(_) => Kind::Bool,
            Object::Int(_) | Object::Long(_) => Kind::Int,
            Object::Float(_) => Kind::Float,
            Object::Str(_) => Kind::Str,
            Object::Bytes(_) => Kind::Bytes,
            Object::ByteArray(_) => Kind::ByteArray,
            Object::List(_) => Kind::List,
            Object::Tuple(_) => Kind::Tuple,
            Object::Dict(_) => Kind::Dict,
            Object::Set(_) => Kind::Set,
            Object::FrozenSet(_) => Kind::FrozenSet,
            Object::Made(class, _) => class.kind().ok_or_else(|| PickleError::Global(class.name()))?,
            Object::Uuid(Some(_)) => Kind::Uuid,
            Object::Class(class) => return Err(PickleError::Global(class.name())),
            Object::Uuid(None) => return Err(PickleError::Arguments("UUID")),
        })
    }
}

/// All objects of one pickle.
#[derive(Debug, Default)]
pub(super) struct Objects<'a>(Vec<Object<'a>>);

impl<'a> Objects<'a> {
    pub(super) fn with_capacity(count: usize) -> Objects<'a> {
        Objects(Vec::with_capacity(count))
    }

    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        // Ids come from `add` alone, and nothing is ever taken out.
        self.0.get(id as usize).unwrap_or(&Object::None)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object<'a>> {
        self.0.get_mut(id as usize)
    }

    pub(super) fn add(&mut self, object: Object<'a>) -> Id {
        self.0.push(object);
        // There are at most as many objects as steps.
        (self.0.len() - 1) as Id
    }
}
