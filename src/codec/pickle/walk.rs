//! Goes through one value with everything in it, without recursion and within bounds.

use super::PickleError;
use super::object::{Id, Object, Objects};
use crate::value::MAX_DEPTH;

/// How much a whole session may still take.
pub(super) struct Budget {
    pub(super) steps: usize,
    /// How many bytes are written and put aside.
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

/// Writes a value down as it is gone through.
pub(super) trait Writer {
    /// A value begins. True when what it contains is to follow, and then [`close`](Writer::close).
    fn open(&mut self, objects: &Objects<'_>, object: &Object<'_>) -> Result<bool, PickleError>;

    /// The next part of a value follows; `position` counts from 0, and keys and values of a dictionary apart.
    fn before(&mut self, container: &Object<'_>, position: usize);

    /// A dictionary's key. True when it has been written, false when it is to be gone through as a value.
    fn key(&mut self, objects: &Objects<'_>, key: Id, budget: &mut Budget) -> Result<bool, PickleError>;

    /// A value that was opened is complete.
    fn close(&mut self, object: &Object<'_>);

    /// How much was written so far.
    fn size(&self) -> usize;
}

struct Open {
    id: Id,
    position: usize,
    /// Whether it is inside of a key or of a set, where Python takes only what can be hashed.
    hashed: bool,
}

/// Goes through a value from outside to inside, in order.
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
    let mut open: Vec<Open> = Vec::new();
    begin(objects, root, hashed, writer, budget, &mut open)?;
    while let Some(current) = open.last_mut() {
        let object = objects.get(current.id);
        let Some(&child) = parts(object).get(current.position) else {
            writer.close(object);
            open.pop();
            continue;
        };
        let position = current.position;
        current.position += 1;
        writer.before(object, position);
        let is_key = matches!(object, Object::Dict(_)) && position % 2 == 0;
        let hashed = current.hashed || is_key || matches!(object, Object::Set(_) | Object::FrozenSet(_));
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

fn begin<W: Writer>(
    objects: &Objects<'_>,
    id: Id,
    hashed: bool,
    writer: &mut W,
    budget: &mut Budget,
    open: &mut Vec<Open>,
) -> Result<(), PickleError> {
    budget.step()?;
    let object = objects.get(id);
    if hashed && matches!(object, Object::List(_) | Object::Dict(_) | Object::Set(_) | Object::ByteArray(_)) {
        return Err(PickleError::Malformed("a key or a member of a set cannot be hashed"));
    }
    let container = writer.open(objects, object)?;
    budget.check_size(writer.size())?;
    if container {
        // The session is one level, as in JSON.
        if open.len() + 1 >= MAX_DEPTH {
            return Err(PickleError::TooDeep);
        }
        open.push(Open { id, position: 0, hashed });
    }
    Ok(())
}

/// What a value contains.
fn parts<'o>(object: &'o Object<'_>) -> &'o [Id] {
    match object {
        Object::List(parts)
        | Object::Tuple(parts)
        | Object::Dict(parts)
        | Object::Set(parts)
        | Object::FrozenSet(parts)
        | Object::Made(_, parts) => parts,
        _ => &[],
    }
}
