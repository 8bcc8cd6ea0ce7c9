//! Walks one value and everything in it, without recursion and within bounds.

use std::collections::HashSet;

use super::PickleError;
use super::object::{Id, Object, Objects};
use crate::value::MAX_DEPTH;

/// The work that the rest of a session may still take.
pub(super) struct Budget {
    pub(super) steps: usize,
    /// The bytes written and buffered so far.
    pub(super) taken: usize,
    pub(super) limit: usize,
}

impl Budget {
    pub(super) fn check_size(&self, size: usize) -> Result<(), PickleError> {
        if self.taken + size > self.limit { Err(PickleError::TooLarge(self.limit)) } else { Ok(()) }
    }

    fn step(&mut self) -> Result<(), PickleError> {
        self.steps = self.steps.checked_sub(1).ok_or(PickleError::TooLong)?;
        Ok(())
    }
}

/// The parts of a value.
#[derive(Clone, Copy)]
pub(super) struct Parts<'o> {
    pub(super) layout: Layout,
    pub(super) ids: &'o [Id],
}

/// How a value's parts are to be interpreted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Sequence,
    /// Alternating keys and values.
    Dictionary,
    /// The single part stands for the value.
    Itself,
}

/// Writes a value during the walk.
pub(super) trait Writer {
    /// A value begins, which must be hashable when `hashed`. Returns the parts to walk, followed by
    /// [`close`](Writer::close); `None` when the value is already written.
    fn open<'o>(
        &mut self,
        objects: &'o Objects<'_>,
        id: Id,
        hashed: bool,
    ) -> Result<Option<Parts<'o>>, PickleError>;

    /// The next part of a value follows; `position` counts from 0, keys and values of a dictionary
    /// separately.
    fn before(&mut self, objects: &Objects<'_>, id: Id, layout: Layout, position: usize);

    /// A dictionary's key. Returns true when it has been written, false when it is to be walked as a value.
    fn key(&mut self, objects: &Objects<'_>, key: Id, budget: &mut Budget) -> Result<bool, PickleError>;

    /// An opened value is complete.
    fn close(&mut self, objects: &Objects<'_>, id: Id, layout: Layout);

    /// The size written so far.
    fn size(&self) -> usize;
}

struct Open<'o> {
    id: Id,
    parts: Parts<'o>,
    position: usize,
    /// Whether the walk is inside a key or a set, where Python takes only hashable values.
    hashed: bool,
}

/// Walks a value from outside to inside, in order.
pub(super) fn walk<W: Writer>(
    objects: &Objects<'_>,
    root: Id,
    writer: &mut W,
    budget: &mut Budget,
) -> Result<(), PickleError> {
    walk_in(objects, root, writer, budget, false)
}

/// [`walk`], for a value that must be hashable when `hashed`.
pub(super) fn walk_in<W: Writer>(
    objects: &Objects<'_>,
    root: Id,
    writer: &mut W,
    budget: &mut Budget,
    hashed: bool,
) -> Result<(), PickleError> {
    let mut open: Vec<Open<'_>> = Vec::new();
    begin(objects, root, hashed, writer, budget, &mut open)?;
    while let Some(current) = open.last_mut() {
        let (id, parts, position) = (current.id, current.parts, current.position);
        let Some(&child) = parts.ids.get(position) else {
            writer.close(objects, id, parts.layout);
            budget.check_size(writer.size())?;
            open.pop();
            continue;
        };
        current.position += 1;
        writer.before(objects, id, parts.layout, position);
        let is_key = parts.layout == Layout::Dictionary && position % 2 == 0;
        let object = objects.get(id);
        let is_set = matches!(object, Object::Set(_) | Object::FrozenSet(_));
        // An object's class decides whether it is hashable, regardless of its parts.
        let is_made = matches!(object, Object::Instance(_)) && parts.layout == Layout::Sequence;
        let hashed = current.hashed && !is_made || is_key || is_set;
        if is_key {
            budget.step()?;
            if writer.key(objects, child, budget)? {
                budget.check_size(writer.size())?;
                continue;
            }
        }
        begin(objects, child, hashed, writer, budget, &mut open)?;
    }
    Ok(())
}

fn begin<'o, W: Writer>(
    objects: &'o Objects<'_>,
    id: Id,
    hashed: bool,
    writer: &mut W,
    budget: &mut Budget,
    open: &mut Vec<Open<'o>>,
) -> Result<(), PickleError> {
    budget.step()?;
    let object = objects.get(id);
    if hashed && matches!(object, Object::List(_) | Object::Dict(_) | Object::Set(_) | Object::ByteArray(_)) {
        return Err(PickleError::Malformed("a key or a member of a set cannot be hashed"));
    }
    let parts = writer.open(objects, id, hashed)?;
    budget.check_size(writer.size())?;
    if let Some(parts) = parts {
        // The session counts as one level, as in JSON.
        if open.len() + 1 >= MAX_DEPTH {
            return Err(PickleError::TooDeep);
        }
        open.push(Open { id, parts, position: 0, hashed });
    }
    Ok(())
}

/// Returns the parts of an object; `None` for an object without parts.
pub(super) fn parts<'o>(object: &'o Object<'_>) -> Option<Parts<'o>> {
    let (layout, ids) = match object {
        Object::Dict(parts) => (Layout::Dictionary, parts),
        Object::List(parts)
        | Object::Tuple(parts)
        | Object::Set(parts)
        | Object::FrozenSet(parts)
        | Object::Made(_, parts) => (Layout::Sequence, parts),
        Object::Instance(instance) => (Layout::Sequence, &instance.parts),
        _ => return None,
    };
    Some(Parts { layout, ids })
}

/// Finds the objects that a value contains more than once, or that contain themselves.
pub(super) fn shared(
    objects: &Objects<'_>,
    root: Id,
    budget: &mut Budget,
) -> Result<HashSet<Id>, PickleError> {
    let (mut shared, mut seen, mut left) = (HashSet::new(), HashSet::from([root]), vec![root]);
    while let Some(id) = left.pop() {
        for part in parts(objects.get(id)).map_or(&[][..], |parts| parts.ids) {
            budget.step()?;
            if seen.insert(*part) {
                left.push(*part);
            } else {
                shared.insert(*part);
            }
        }
    }
    Ok(shared)
}
