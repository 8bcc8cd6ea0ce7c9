//! The pickle machine: a stack, a memo and the opcodes of protocols 0 to 5 that plain values need.

use std::borrow::Cow;
use std::collections::HashMap;

use super::class::{self, Class};
use super::global::{self, Global, Instance, Making};
use super::object::{Id, Long, Object, Objects};
use super::{MAX_STEPS, OpcodeName, PickleError, integer, text};

const TRUNCATED: PickleError = PickleError::Malformed("it ends too early");
const STACK: PickleError =
    PickleError::Malformed("an opcode finds something else on the stack than it needs");

const ORDER: PickleError = PickleError::Malformed("an object is filled in another order than Python's");

pub(super) struct Machine<'a> {
    input: &'a [u8],
    position: usize,
    objects: Objects<'a>,
    stack: Vec<Id>,
    /// The stack's height at each mark.
    marks: Vec<usize>,
    memo: Memo,
    /// The remaining steps; copying a list costs one step per item.
    steps: usize,
    /// The remaining bytes that may be copied from texts.
    copies: usize,
    protocol: u8,
}

/// The memo: objects that opcodes store under a number. Python numbers them from 0 without gaps.
#[derive(Default)]
struct Memo {
    dense: Vec<Id>,
    sparse: HashMap<u64, Id>,
}

impl Memo {
    fn put(&mut self, index: u64, id: Id) {
        match usize::try_from(index) {
            Ok(index) if index == self.dense.len() => self.dense.push(id),
            Ok(index) if index < self.dense.len() => self.dense[index] = id,
            _ => _ = self.sparse.insert(index, id),
        }
    }

    fn get(&self, index: u64) -> Result<Id, PickleError> {
        let dense = usize::try_from(index).ok().and_then(|index| self.dense.get(index));
        let id = dense.or_else(|| self.sparse.get(&index));
        id.copied().ok_or(PickleError::Malformed("it refers to nothing"))
    }

    fn len(&self) -> u64 {
        (self.dense.len() + self.sparse.len()) as u64
    }
}

/// Allocated at once, enough for small sessions.
const FEW: usize = 16;

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8], limit: usize) -> Machine<'a> {
        Machine {
            input,
            position: 0,
            objects: Objects::with_capacity(FEW),
            stack: Vec::with_capacity(FEW),
            marks: Vec::with_capacity(FEW),
            memo: Memo::default(),
            steps: MAX_STEPS,
            copies: limit,
            protocol: 0,
        }
    }

    /// Runs the pickle; returns all objects that it describes, and the id of the result.
    pub(super) fn run(self) -> Result<(Objects<'a>, Id), PickleError> {
        self.run_first().map(|(objects, root, _)| (objects, root))
    }

    /// Runs the first of several pickles; returns its length too.
    pub(super) fn run_first(mut self) -> Result<(Objects<'a>, Id, usize), PickleError> {
        loop {
            self.spend(1)?;
            match self.take(1)?[0] {
                b'.' => {
                    let root = self.pop()?;
                    return Ok((self.objects, root, self.position));
                }
                opcode => self.step(opcode)?,
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => match self.take(1)?[0] {
                protocol @ 0..=5 => self.protocol = protocol,
                _ => return Err(PickleError::Malformed("a protocol after 5")),
            },
            // A frame is a hint for reading from files.
            0x95 => _ = self.take(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(mark) if *mark == self.stack.len() => _ = self.marks.pop(),
                _ => _ = self.pop()?,
            },
            b'1' => _ = self.pop_mark()?,
            b'2' => self.stack.push(*self.stack.last().ok_or(STACK)?),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'I' | b'L' | b'F' => self.number_in_text(opcode)?,
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(i64::from(number)));
            }
            b'K' => {
                let number = self.take(1)?[0];
                self.push(Object::Int(i64::from(number)));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(i64::from(number)));
            }
            0x8a | 0x8b => {
                let bytes = self.sized(if opcode == 0x8a { 1 } else { 4 })?;
                self.push_whole(bytes.into())?;
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(Object::Float(number));
            }
            b'V' => {
                let text = text::raw_unicode_escape(self.line()?)?;
                self.push(Object::Str(text.into()));
            }
            b'X' | 0x8c | 0x8d => {
                let text = self.sized(length_of_length(opcode))?;
                text::check(text)?;
                self.push(Object::Str(text.into()));
            }
            // Python 2 strings. Python 3 reads them as ASCII too.
            b'T' | b'U' => {
                let text = self.sized(if opcode == b'U' { 1 } else { 4 })?;
                if !text.is_ascii() {
                    return Err(PickleError::Malformed("a string of Python 2 that is not ASCII"));
                }
                self.push(Object::Str(text.into()));
            }
            b'B' | b'C' | 0x8e => {
                let bytes = self.sized(length_of_length(opcode))?;
                self.push(Object::Bytes(bytes.into()));
            }
            0x96 => {
                let bytes = self.sized(8)?;
                self.push(Object::ByteArray(bytes.into()));
            }
            b'g' | b'h' | b'j' => {
                let index = self.index(opcode == b'g', if opcode == b'h' { 1 } else { 4 })?;
                self.stack.push(self.memo.get(index)?);
            }
            b'p' | b'q' | b'r' => {
                let index = self.index(opcode == b'p', if opcode == b'q' { 1 } else { 4 })?;
                self.memo.put(index, *self.stack.last().ok_or(STACK)?);
            }
            0x94 => self.memo.put(self.memo.len(), *self.stack.last().ok_or(STACK)?),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            0x8f => self.push(Object::Set(Vec::new())),
            b'l' => self.collect(Object::List)?,
            b't' => self.collect(Object::Tuple)?,
            0x91 => self.collect(Object::FrozenSet)?,
            b'd' => {
                let parts = self.pop_mark()?;
                self.check_pairs(&parts)?;
                self.push(Object::Dict(parts));
            }
            0x85..=0x87 => {
                let parts = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Object::Tuple(parts));
            }
            b'a' | b's' => {
                let parts = self.pop_many(if opcode == b'a' { 1 } else { 2 })?;
                self.add(opcode, parts)?;
            }
            b'e' | b'u' | 0x90 => {
                let parts = self.pop_mark()?;
                self.add(opcode, parts)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_class(module.into(), name.into())?;
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let (module, name) = match (self.objects.get(names[0]), self.objects.get(names[1])) {
                    (Object::Str(module), Object::Str(name)) => (module.clone(), name.clone()),
                    _ => return Err(STACK),
                };
                self.copy(module.len() + name.len())?;
                self.push_class(module, name)?;
            }
            b'R' => self.reduce()?,
            0x81 => {
                let parts = self.pop_many(2)?;
                match (self.objects.get(parts[0]), self.objects.get(parts[1])) {
                    (Object::Class(Class::Uuid), Object::Tuple(arguments)) if arguments.is_empty() => {
                        self.push(Object::Uuid(None));
                    }
                    _ => self.push_instance(Making::New, parts)?,
                }
            }
            0x92 => {
                let parts = self.pop_many(3)?;
                self.push_instance(Making::NewWithKeywords, parts)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = *self.stack.last().ok_or(STACK)?;
                let uuid = class::uuid(&self.objects, state);
                let done = match self.objects.get_mut(target) {
                    Some(Object::Uuid(empty @ None)) => {
                        *empty = Some(uuid?);
                        true
                    }
                    Some(Object::Instance(instance)) => instance.set_state(state),
                    _ => false,
                };
                if !done {
                    return Err(PickleError::Malformed("a state for something that has none"));
                }
            }
            // Python 2's way to make an object, which Python 3 does not write. Refused, with the name of the
            // class it would call.
            b'o' => {
                let callable = self.pop_mark()?.first().copied();
                return Err(match callable.filter(|callable| global::is_class(&self.objects, *callable)) {
                    Some(callable) => PickleError::Global(global::name(&self.objects, callable)),
                    None => PickleError::Opcode(OpcodeName(opcode)),
                });
            }
            other => return Err(PickleError::Opcode(OpcodeName(other))),
        }
        Ok(())
    }

    /// Describes the object that the class would make; calls nothing.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let parts = self.pop_many(2)?;
        let Object::Class(class) = *self.objects.get(parts[0]) else {
            return self.push_instance(Making::Reduce, parts);
        };
        let Object::Tuple(arguments) = self.objects.get(parts[1]) else { return Err(STACK) };
        // Counts as work, because its text is checked at each use.
        if let (Class::Decimal, Some(Object::Str(text))) =
            (class, arguments.first().map(|text| self.objects.get(*text)))
        {
            let length = text.len();
            self.copy(length)?;
        }
        let Object::Tuple(arguments) = self.objects.get(parts[1]) else { return Err(STACK) };
        let Ok(made) = class.make(&self.objects, arguments) else {
            return self.push_instance(Making::Reduce, parts);
        };
        match &made {
            Object::Set(items) | Object::FrozenSet(items) => self.spend(items.len())?,
            Object::Bytes(bytes) | Object::ByteArray(bytes) => self.copy(bytes.len())?,
            _ => {}
        }
        self.push(made);
        Ok(())
    }

    fn add(&mut self, opcode: u8, parts: Vec<Id>) -> Result<(), PickleError> {
        if matches!(opcode, b's' | b'u') {
            self.check_pairs(&parts)?;
        }
        let target = *self.stack.last().ok_or(STACK)?;
        match (opcode, self.objects.get_mut(target)) {
            (b'a' | b'e', Some(Object::Instance(instance))) => {
                if instance.add_items(parts) {
                    Ok(())
                } else {
                    Err(ORDER)
                }
            }
            (b's' | b'u', Some(Object::Instance(instance))) => {
                if instance.add_pairs(parts) {
                    Ok(())
                } else {
                    Err(ORDER)
                }
            }
            (b'a' | b'e', Some(Object::List(items)))
            | (b's' | b'u', Some(Object::Dict(items)))
            | (0x90, Some(Object::Set(items))) => {
                items.extend(parts);
                Ok(())
            }
            _ => Err(STACK),
        }
    }

    fn check_pairs(&self, parts: &[Id]) -> Result<(), PickleError> {
        if parts.len().is_multiple_of(2) {
            Ok(())
        } else {
            Err(PickleError::Malformed("a key without a value"))
        }
    }

    fn collect(&mut self, container: impl FnOnce(Vec<Id>) -> Object<'a>) -> Result<(), PickleError> {
        let parts = self.pop_mark()?;
        self.push(container(parts));
        Ok(())
    }

    fn spend(&mut self, steps: usize) -> Result<(), PickleError> {
        self.steps = self.steps.checked_sub(steps).ok_or(PickleError::TooLong)?;
        Ok(())
    }

    fn copy(&mut self, bytes: usize) -> Result<(), PickleError> {
        self.copies = self.copies.checked_sub(bytes).ok_or(PickleError::TooLong)?;
        Ok(())
    }

    /// Pushes a class or function, known or not. It is not looked up.
    fn push_class(&mut self, module: Cow<'a, [u8]>, name: Cow<'a, [u8]>) -> Result<(), PickleError> {
        let object = match Class::find(&module, &name) {
            Some(class) => Object::Class(class),
            None => Object::Global(Box::new(Global::new(module, name, self.protocol)?)),
        };
        self.push(object);
        Ok(())
    }

    /// Records the parts from which Python would make an object; makes nothing.
    fn push_instance(&mut self, making: Making, parts: Vec<Id>) -> Result<(), PickleError> {
        let is_callable = global::is_class(&self.objects, parts[0]);
        let has_arguments = matches!(self.objects.get(parts[1]), Object::Tuple(_));
        let keywords = parts.get(2).map(|keywords| self.objects.get(*keywords));
        if !is_callable || !has_arguments || !matches!(keywords, None | Some(Object::Dict(_))) {
            return Err(STACK);
        }
        self.push(Object::Instance(Box::new(Instance::new(making, parts))));
        Ok(())
    }

    /// Pushes an integer of any length. Its decimal text is made once, and its cost is counted here.
    fn push_whole(&mut self, bytes: Cow<'a, [u8]>) -> Result<(), PickleError> {
        let bytes = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(integer::trim(bytes)),
            Cow::Owned(bytes) => Cow::Owned(bytes),
        };
        let number = match integer::small(&bytes) {
            Some(number) => Object::Int(number),
            None => {
                self.spend(integer::steps(bytes.len()))?;
                Object::Long(Long::new(bytes))
            }
        };
        self.push(number);
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) {
        let id = self.objects.add(object);
        self.stack.push(id);
    }

    /// The stack height at the innermost mark; opcodes cannot pop below it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        if self.stack.len() <= self.floor() {
            return Err(STACK);
        }
        self.stack.pop().ok_or(STACK)
    }

    /// Pops exactly `count` values, the lowest first.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, PickleError> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => Err(STACK),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or(STACK)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let input = self.input;
        let end = self.position.checked_add(length).ok_or(TRUNCATED)?;
        let bytes = input.get(self.position..end).ok_or(TRUNCATED)?;
        self.position = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N)?.try_into().map_err(|_| TRUNCATED)
    }

    /// Reads a little-endian number.
    fn number(&mut self, width: usize) -> Result<u64, PickleError> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a length, then that many bytes.
    fn sized(&mut self, width: usize) -> Result<&'a [u8], PickleError> {
        let length = self.number(width)?;
        self.take(usize::try_from(length).map_err(|_| TRUNCATED)?)
    }

    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.input[self.position..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(TRUNCATED)?;
        self.position += end + 1;
        Ok(&rest[..end])
    }

    fn ascii_line(&mut self) -> Result<&'a str, PickleError> {
        std::str::from_utf8(self.line()?).map_err(|_| PickleError::Malformed("an invalid number"))
    }

    fn index(&mut self, in_text: bool, width: usize) -> Result<u64, PickleError> {
        if !in_text {
            return self.number(width);
        }
        self.ascii_line()?.parse().map_err(|_| PickleError::Malformed("an invalid number"))
    }

    fn number_in_text(&mut self, opcode: u8) -> Result<(), PickleError> {
        const NONE: PickleError = PickleError::Malformed("an invalid number");
        let line = self.ascii_line()?;
        let object = match (opcode, line) {
            (b'F', line) => Object::Float(line.parse().map_err(|_| NONE)?),
            // Python reads any two characters that form the number 0 or 1 as a boolean; this reader refuses
            // all but these.
            (b'I', "00" | "-0") => Object::Bool(false),
            (b'I', "01") => Object::Bool(true),
            (_, line) => {
                let digits = if opcode == b'L' { line.strip_suffix('L').unwrap_or(line) } else { line };
                return self.push_whole(integer::from_decimal(digits).ok_or(NONE)?.into());
            }
        };
        self.push(object);
        Ok(())
    }
}

/// The size of the length field after this opcode.
fn length_of_length(opcode: u8) -> usize {
    match opcode {
        0x8c | b'C' => 1,
        b'X' | b'B' => 4,
        _ => 8,
    }
}
