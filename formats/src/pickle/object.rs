//! The objects that a pickle describes, before they become a session.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::class::Class;
use super::global::{Global, Instance, Plain, reading};
use super::{PickleError, integer};
use crate::value::Kind;

/// An index into [`Objects`].
pub(super) type Id = u32;

/// One Python object. Containers refer to their items by id, so sharing costs nothing and nothing nests.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Long(Long<'a>),
    Float(f64),
    /// UTF-8 that may contain lone surrogates, Python's `surrogatepass`.
    Str(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    ByteArray(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Alternating keys and values.
    Dict(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    /// A bare class or function, not yet called.
    Class(Class),
    /// An unknown class or function.
    Global(Box<Global<'a>>),
    /// The object that Python would make with an unknown class or function.
    Instance(Box<Instance>),
    /// A class with the checked arguments that make the value.
    Made(Class, Vec<Id>),
    /// A UUID; empty until its state has been set.
    Uuid(Option<Uuid>),
}

/// An integer beyond 64 bits.
#[derive(Debug)]
pub(super) struct Long<'a> {
    /// Two's complement, little-endian, as short as possible and longer than 8 bytes.
    pub(super) bytes: Cow<'a, [u8]>,
    decimal: OnceCell<Option<Box<str>>>,
}

impl<'a> Long<'a> {
    pub(super) fn new(bytes: Cow<'a, [u8]>) -> Long<'a> {
        Long { bytes, decimal: OnceCell::new() }
    }

    /// The decimal text, unless Python would refuse to write it. Made once, even if the number is used often.
    pub(super) fn decimal(&self) -> Option<&str> {
        self.decimal.get_or_init(|| integer::to_decimal(&self.bytes).map(String::into_boxed_str)).as_deref()
    }
}

/// A UUID's number, and how far the machine vouches for its uniqueness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uuid {
    pub(super) number: u128,
    pub(super) is_safe: Option<i64>,
}

/// The kind of an object as a reader sees it.
pub(super) fn kind_of(objects: &Objects<'_>, id: Id) -> Result<Kind, PickleError> {
    let mut object = objects.get(id);
    // A wrapper may wrap another wrapper; beyond this depth it counts as an object.
    for _ in 0..8 {
        let Object::Instance(instance) = object else { return object.kind() };
        match reading(objects, instance).map(|reading| reading.plain) {
            Some(Plain::Value(value)) => object = objects.get(*value),
            Some(Plain::List(_)) => return Ok(Kind::List),
            Some(Plain::Dict(_)) => return Ok(Kind::Dict),
            None => break,
        }
    }
    Ok(Kind::Object)
}

impl Object<'_> {
    /// The object's kind; an error for objects that are not values.
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
            Object::Class(_) | Object::Global(_) | Object::Instance(_) => Kind::Object,
            Object::Uuid(None) => return Err(PickleError::Arguments("UUID")),
        })
    }
}

/// All objects of one pickle.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    all: Vec<Object<'a>>,
    /// Whether any object is of an unknown class.
    pub(super) has_foreign: bool,
}

impl<'a> Objects<'a> {
    pub(super) fn with_capacity(count: usize) -> Objects<'a> {
        Objects { all: Vec::with_capacity(count), has_foreign: false }
    }

    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        // Ids come from `add` alone, and nothing is ever taken out.
        self.all.get(id as usize).unwrap_or(&Object::None)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object<'a>> {
        self.all.get_mut(id as usize)
    }

    pub(super) fn add(&mut self, object: Object<'a>) -> Id {
        self.has_foreign |= matches!(object, Object::Global(_) | Object::Instance(_));
        self.all.push(object);
        // There are at most as many objects as steps.
        (self.all.len() - 1) as Id
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        0..self.all.len() as Id
    }
}
