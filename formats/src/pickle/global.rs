//! Classes and functions that this reader does not know, and the objects that a pickle makes with them.
//!
//! Nothing is looked up and nothing is called. Names and arguments are kept, so that an object can be written
//! back into the entry that it came from. Some kinds can be read as the plain value that they are to Python.

use std::borrow::Cow;

use super::PickleError;
use super::class::Class;
use super::object::{Id, Object, Objects};

/// A class or function by its name.
#[derive(Debug)]
pub(super) struct Global<'a> {
    pub(super) module: Cow<'a, [u8]>,
    pub(super) name: Cow<'a, [u8]>,
}

/// How Python would make an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// `callable(*arguments)`
    Reduce,
    /// `class.__new__(class, *arguments)`
    New,
    /// `class.__new__(class, *arguments, **keywords)`
    NewWithKeywords,
}

/// An object that Python would make with an unknown class or function.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) making: Making,
    /// The callable, its arguments and its keywords; then, in Python's order, the items of a list, the keys
    /// and values of a dictionary, and a state.
    pub(super) parts: Vec<Id>,
    pub(super) items: usize,
    pub(super) pairs: usize,
    pub(super) has_state: bool,
}

impl Instance {
    pub(super) fn new(making: Making, parts: Vec<Id>) -> Instance {
        Instance { making, parts, items: 0, pairs: 0, has_state: false }
    }

    /// The number of parts that make the object; the others fill it.
    pub(super) fn head(&self) -> usize {
        if self.making == Making::NewWithKeywords { 3 } else { 2 }
    }

    /// Adds list items. Returns false when Python would not add items at this point.
    pub(super) fn add_items(&mut self, items: Vec<Id>) -> bool {
        let in_order = self.pairs == 0 && !self.has_state;
        self.items += items.len();
        self.parts.extend(items);
        in_order
    }

    /// Adds dictionary entries.
    pub(super) fn add_pairs(&mut self, pairs: Vec<Id>) -> bool {
        self.pairs += pairs.len();
        self.parts.extend(pairs);
        !self.has_state
    }

    /// Sets its state.
    pub(super) fn set_state(&mut self, state: Id) -> bool {
        self.parts.push(state);
        !std::mem::replace(&mut self.has_state, true)
    }

    fn filled(&self) -> &[Id] {
        &self.parts[self.head()..self.head() + self.items + self.pairs]
    }
}

/// The Python value that an object is, apart from its class's additions.
pub(super) enum Plain<'o> {
    /// This very value: the text of a `str` subclass, or the value of an `Enum` member.
    Value(&'o Id),
    List(&'o [Id]),
    /// Alternating keys and values.
    Dict(&'o [Id]),
}

/// The value that an object reads as, and whether Python's JSON writer accepts it as that value.
pub(super) struct Reading<'o> {
    pub(super) plain: Plain<'o>,
    pub(super) is_json: bool,
}

/// Modules whose classes start programs or load code when they are made: never read as an enumeration.
const RUNNERS: [&[u8]; 3] = [b"subprocess", b"ctypes", b"multiprocessing"];

/// Returns the value that an object reads as; `None` for objects that only Python can read.
///
/// Django's and Python's own classes are known by name. A class of the site is recognized by the way in which
/// Python pickles subclasses of `str`, `int`, `float`, `list`, `dict` and `tuple`, and members of an `Enum`.
/// The pickle does not tell what the class is, so no JSON store takes these.
pub(super) fn reading<'o>(objects: &'o Objects<'_>, instance: &'o Instance) -> Option<Reading<'o>> {
    let Object::Tuple(arguments) = objects.get(instance.parts[1]) else { return None };
    let arguments = arguments.as_slice();
    // Parts outside of the reading must be empty, the state included, except in Django's two dictionaries.
    let is_list = instance.pairs == 0 && !instance.has_state;
    let is_dict = instance.items == 0 && !instance.has_state;
    let is_bare = is_list && is_dict;
    let list = || Plain::List(instance.filled());
    let dict = || Plain::Dict(instance.filled());
    let json = |plain| Some(Reading { plain, is_json: true });
    let other = |plain| Some(Reading { plain, is_json: false });
    let global = match objects.get(instance.parts[0]) {
        Object::Global(global) => global,
        Object::Class(Class::Reconstructor) if is_bare => {
            return subclass(objects, arguments).and_then(|value| other(Plain::Value(value)));
        }
        _ => return None,
    };
    let is_class = |id: &Id| matches!(objects.get(*id), Object::Class(_) | Object::Global(_) | Object::None);
    let is_scalar = |id: &Id| is_scalar(objects.get(*id));
    match (&*global.module, &*global.name, instance.making, arguments) {
        (b"django.utils.safestring", b"SafeString" | b"SafeText", Making::New, [text])
            if is_bare && is_text(objects, *text) =>
        {
            json(Plain::Value(text))
        }
        (b"collections", b"OrderedDict", Making::Reduce, []) if is_dict => json(dict()),
        (b"collections", b"defaultdict", Making::Reduce, []) if is_dict => json(dict()),
        (b"collections", b"defaultdict", Making::Reduce, [factory]) if is_dict && is_class(factory) => {
            json(dict())
        }
        (b"collections", b"Counter", Making::Reduce, [counts])
            if is_bare && matches!(objects.get(*counts), Object::Dict(_)) =>
        {
            json(Plain::Value(counts))
        }
        (b"collections", b"deque", Making::Reduce, []) if is_list => other(list()),
        (b"collections", b"deque", Making::Reduce, [empty, length])
            if is_list && is_empty(objects, *empty) && is_scalar(length) =>
        {
            other(list())
        }
        // The last value of each key, as Python's JSON writer and `items()` show it. The state holds all of
        // them.
        (b"django.http.request", b"QueryDict", Making::New, [])
        | (b"django.utils.datastructures", b"MultiValueDict", Making::New, [])
            if instance.items == 0 =>
        {
            json(dict())
        }
        (b"django.utils.functional", b"_lazy_proxy_unpickle", Making::Reduce, _) if is_bare => {
            lazy_text(objects, arguments).and_then(|text| other(Plain::Value(text)))
        }
        (b"builtins", b"complex", Making::Reduce, [real, imaginary])
            if is_bare && is_scalar(real) && is_scalar(imaginary) =>
        {
            other(Plain::Value(&instance.parts[1]))
        }
        (b"builtins", ..) => None,
        (_, _, Making::New, [value]) if is_bare && is_scalar(value) => other(Plain::Value(value)),
        (_, _, Making::New, [_, _, ..]) if is_bare => other(Plain::Value(&instance.parts[1])),
        (_, _, Making::New, []) if is_list && instance.items > 0 => other(list()),
        (_, _, Making::New, []) if is_dict && instance.pairs > 0 => other(dict()),
        (module, name, Making::Reduce, [value]) if is_bare && is_scalar(value) => {
            let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
            let is_member = last.first().is_some_and(u8::is_ascii_uppercase) && !is_runner(module);
            if is_member { other(Plain::Value(value)) } else { None }
        }
        _ => None,
    }
}

/// The plain value of a subclass's object in protocols 0 and 1, which name the base class.
fn subclass<'o>(objects: &Objects<'_>, arguments: &'o [Id]) -> Option<&'o Id> {
    let [class, base, value] = arguments else { return None };
    let (Object::Global(_), Object::Global(base)) = (objects.get(*class), objects.get(*base)) else {
        return None;
    };
    let is_plain = [&b"str"[..], b"int", b"float", b"tuple", b"list"].contains(&&*base.name);
    (is_plain && *base.module == *b"builtins").then_some(value)
}

/// The source text of a lazily translated text without plural and context.
fn lazy_text<'o>(objects: &'o Objects<'_>, arguments: &[Id]) -> Option<&'o Id> {
    let [function, arguments, keywords, results @ ..] = arguments else { return None };
    let (Object::Global(function), Object::Tuple(texts)) = (objects.get(*function), objects.get(*arguments))
    else {
        return None;
    };
    let translates = *function.module == *b"django.utils.translation"
        && [&b"gettext"[..], b"ugettext"].contains(&&*function.name);
    let are_classes = results.iter().all(|class| matches!(objects.get(*class), Object::Global(_)));
    match texts.as_slice() {
        [text] if translates && are_classes && is_empty(objects, *keywords) && is_text(objects, *text) => {
            Some(text)
        }
        _ => None,
    }
}

fn is_text(objects: &Objects<'_>, id: Id) -> bool {
    matches!(objects.get(id), Object::Str(_))
}

fn is_empty(objects: &Objects<'_>, id: Id) -> bool {
    match objects.get(id) {
        Object::Tuple(parts) | Object::List(parts) | Object::Dict(parts) => parts.is_empty(),
        _ => false,
    }
}

/// Whether Python may call it: a class or function, or the result of a call.
pub(super) fn is_class(objects: &Objects<'_>, id: Id) -> bool {
    matches!(objects.get(id), Object::Class(_) | Object::Global(_) | Object::Instance(_))
}

fn is_runner(module: &[u8]) -> bool {
    let package = module.split(|byte| *byte == b'.').next().unwrap_or_default();
    RUNNERS.contains(&package)
}

fn is_scalar(object: &Object<'_>) -> bool {
    matches!(object, Object::Bool(_) | Object::Int(_) | Object::Long(_) | Object::Float(_) | Object::Str(_))
}

/// The name of the class or function that prevents an object from being read.
pub(super) fn name(objects: &Objects<'_>, id: Id) -> String {
    let is_unknown = |id: &&Id| matches!(objects.get(**id), Object::Global(_) | Object::Instance(_));
    let mut id = id;
    // Sixteen levels suffice: a longer chain of calls needs no better name.
    for _ in 0..16 {
        let Object::Instance(instance) = objects.get(id) else { break };
        let callable = instance.parts[0];
        let arguments = match objects.get(instance.parts[1]) {
            Object::Tuple(arguments) => arguments.as_slice(),
            _ => &[],
        };
        // A known class was given an unknown argument, such as a datetime's time zone.
        let is_known = matches!(objects.get(callable), Object::Class(_));
        id = *arguments.iter().find(is_unknown).filter(|_| is_known).unwrap_or(&callable);
    }
    match objects.get(id) {
        Object::Global(global) => global.shown(),
        Object::Class(class) => class.name(),
        _ => "an object made by an object".to_owned(),
    }
}

/// Finds the first object or class that belongs to no value: Python would make it and drop it, which no
/// session needs.
pub(super) fn first_dropped(objects: &Objects<'_>, reached: &[Id]) -> Option<PickleError> {
    if !objects.has_foreign {
        return None;
    }
    let reached: std::collections::HashSet<&Id> = reached.iter().collect();
    let foreign = |id: &Id| matches!(objects.get(*id), Object::Global(_) | Object::Instance(_));
    let dropped = objects.ids().find(|id| foreign(id) && !reached.contains(id));
    dropped.map(|id| PickleError::Global(name(objects, id)))
}

impl<'a> Global<'a> {
    /// Creates it by its Python 3 name: pickles before protocol 3 use the names of Python 2.
    pub(super) fn new(
        module: Cow<'a, [u8]>,
        name: Cow<'a, [u8]>,
        protocol: u8,
    ) -> Result<Global<'a>, PickleError> {
        let is_name = |text: &[u8]| text.len() <= MAX_NAME && std::str::from_utf8(text).is_ok();
        if !is_name(&module) || !is_name(&name) {
            return Err(PickleError::Malformed("an invalid class name"));
        }
        if protocol >= 3 {
            return Ok(Global { module, name });
        }
        let new_name =
            PYTHON_2_BUILTINS.iter().find(|old| *module == *b"__builtin__" && *name == *old.0.as_bytes());
        let new_module = PYTHON_2_MODULES.iter().find(|old| *module == *old.0.as_bytes());
        Ok(Global {
            module: new_module.map_or(module, |new| Cow::Borrowed(new.1.as_bytes())),
            name: new_name.map_or(name, |new| Cow::Borrowed(new.1.as_bytes())),
        })
    }

    fn shown(&self) -> String {
        let shown = |text: &[u8]| text[..text.len().min(100)].escape_ascii().to_string();
        format!("{}.{}", shown(&self.module), shown(&self.name))
    }
}

/// The maximum length in bytes of a module's name, and of a class's name.
const MAX_NAME: usize = 1_000;

/// Python's `_compat_pickle`, limited to names that can be pickled.
const PYTHON_2_BUILTINS: [(&str, &str); 5] =
    [("unicode", "str"), ("long", "int"), ("xrange", "range"), ("unichr", "chr"), ("basestring", "str")];

const PYTHON_2_MODULES: [(&str, &str); 21] = [
    ("__builtin__", "builtins"),
    ("exceptions", "builtins"),
    ("copy_reg", "copyreg"),
    ("Queue", "queue"),
    ("SocketServer", "socketserver"),
    ("ConfigParser", "configparser"),
    ("repr", "reprlib"),
    ("xmlrpclib", "xmlrpc.client"),
    ("httplib", "http.client"),
    ("HTMLParser", "html.parser"),
    ("Cookie", "http.cookies"),
    ("cookielib", "http.cookiejar"),
    ("commands", "subprocess"),
    ("urlparse", "urllib.parse"),
    ("urllib2", "urllib.request"),
    ("_abcoll", "collections.abc"),
    ("UserDict", "collections"),
    ("UserList", "collections"),
    ("UserString", "collections"),
    ("StringIO", "io"),
    ("cStringIO", "io"),
];
