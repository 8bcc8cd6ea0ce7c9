use super::*;

const LIMIT: usize = 1 << 20;

/// A dictionary with one value, made by these opcodes.
fn session_of(opcodes: &[u8]) -> Vec<u8> {
    [b"\x80\x04}\x8c\x01k", opcodes, b"s."].concat()
}

fn value_of(opcodes: &[u8]) -> Result<Value, PickleError> {
    read(&session_of(opcodes), LIMIT).map(|data| data.get("k").cloned().unwrap())
}

/// The class of the object that prevents this value from being read.
fn unread(opcodes: &[u8]) -> Option<String> {
    match value_of(opcodes).unwrap().deserialize::<serde_json::Value>() {
        Err(crate::ValueError::PythonObject(class)) => Some(class),
        _ => None,
    }
}

#[test]
fn plain_values_become_json() {
    for (opcodes, json) in [
        (&b"N"[..], "null"),
        (b"\x88", "true"),
        (b"I01\n", "true"),
        (b"I-0\n", "false"),
        (b"I0\n", "0"),
        (b"L-0L\n", "0"),
        (b"I-70000\n", "-70000"),
        (b"J\x90\xee\xfe\xff", "-70000"),
        (b"\x8a\x00", "0"),
        (b"\x8a\x02\xff\x00", "255"),
        (b"\x8a\x02\xff\xff", "-1"),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x40", "1180591620717411303424"),
        (b"L-1180591620717411303424L\n", "-1180591620717411303424"),
        (b"F1e-05\n", "1e-05"),
        (b"Finf\n", "Infinity"),
        (b"VZ\xfcrich \\U0001f980 \\u005c\n", r#""Z\u00fcrich \ud83e\udd80 \\""#),
        (b"X\x03\x00\x00\x00\xed\xa0\xbe", r#""\ud83e""#),
        (b"](K\x01]e", "[1,[]]"),
        (b"(K\x01K\x02l", "[1,2]"),
        (b"(\x8c\x01aK\x02d", r#"{"a":2}"#),
        (b"]q\x05K\x01ah\x050", "[1]"),
        // A backslash after a backslash escapes nothing.
        (b"V\\\\u0041\n", r#""\\\\u0041""#),
        (b"V\\U0010ffff\n", r#""\udbff\udfff""#),
        // A second store to the same memo number replaces the first.
        (b"K\x01q\x000K\x02q\x000h\x00", "2"),
        // Python 2 strings.
        (b"U\x01a", r#""a""#),
        (b"T\x01\x00\x00\x00a", r#""a""#),
        // A mark is removed only when nothing is above it.
        (b"](N0e", "[]"),
        (b"](N00", "[]"),
    ] {
        let value = value_of(opcodes).unwrap();
        assert_eq!(value.json(), json);
        assert!(value.pickled().is_none(), "{json}");
    }
}

#[test]
fn other_values_stay_as_they_are_and_can_be_read() {
    let zone = b"cdatetime\ntimezone\ncdatetime\ntimedelta\nK\x00M\x10\x0eK\x00\x87R\x85R";
    let date_time =
        [b"cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x02\x03\x04\x05\x00\x02\xa6", &zone[..], b"\x86R"].concat();
    for (opcodes, kind, json) in [
        (&b"K\x01K\x02\x86"[..], Kind::Tuple, "[1,2]"),
        (b"C\x02\x00\xff", Kind::Bytes, "[0,255]"),
        (b"\x8f(K\x01\x90", Kind::Set, "[1]"),
        (b"(K\x01\x91", Kind::FrozenSet, "[1]"),
        (&date_time, Kind::DateTime, r#""2024-01-02T03:04:05.000678+01:00""#),
        (
            b"cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x02\x03\x04\x05\x00\x00\x00cpytz\n_UTC\n)R\x86R",
            Kind::DateTime,
            r#""2024-01-02T03:04:05+00:00""#,
        ),
        (b"cdatetime\ndate\nC\x04\x07\xe8\x01\x02\x85R", Kind::Date, r#""2024-01-02""#),
        (
            b"cdatetime\ntimedelta\nJ\xff\xff\xff\xffK\x00K\x01\x87R",
            Kind::TimeDelta,
            r#""-P0DT23H59M59.999999S""#,
        ),
        (b"cdecimal\nDecimal\n\x8c\x041E+5\x85R", Kind::Decimal, r#""1E+5""#),
        (b"cuuid\nUUID\n)\x81}(\x8c\x03intK\x05ub", Kind::Uuid, r#""00000000-0000-0000-0000-000000000005""#),
        (b"}(K\x01K\x02\x88K\x03u", Kind::Dict, r#"{"1":2,"true":3}"#),
        (b"}(K\x01K\x02\x86K\x03u", Kind::Dict, r#"{"[1,2]":3}"#),
        // The two halves of a pair, as separate characters.
        (b"\x8c\x06\xed\xa0\xbe\xed\xb6\x80", Kind::Str, r#""\ud83e\udd80""#),
        (b"\x8c\x06\xed\xa0\xbe\xed\xb0\x80", Kind::Str, r#""\ud83e\udc00""#),
        (b"cpytz\n_UTC\n)R", Kind::TimeZone, r#""+00:00""#),
    ] {
        let value = value_of(opcodes).unwrap();
        assert_eq!((value.kind(), value.json()), (kind, json));
        assert!(value.pickled().is_some(), "{json}");
        let again = write([("k", &value)].into_iter()).unwrap();
        let again = read(&again, LIMIT).unwrap();
        assert_eq!(again.get("k").map(Value::pickled), Some(value.pickled()), "{json}");
    }
}

#[test]
fn a_value_that_json_cannot_hold_is_refused_where_json_is_stored() {
    let data = |opcodes| read(&session_of(opcodes), LIMIT).unwrap();
    assert_eq!(data(b"K\x01\x85").json_to_store(",", ":").unwrap(), r#"{"k":[1]}"#);
    let bytes = data(b"](C\x01ae").json_to_store(",", ":");
    assert_eq!(bytes, Err(crate::ValueError::NotJson(Kind::Bytes)));
    assert_eq!(data(b"}K\x01K\x02s").json_to_store(",", ":").unwrap(), r#"{"k":{"1":2}}"#);
    let key = data(b"}K\x01K\x02\x86K\x03s").json_to_store(",", ":");
    assert_eq!(key, Err(crate::ValueError::NotJson(Kind::Tuple)));
}

#[test]
fn typed_reading_works_through_serde() {
    assert_eq!(
        value_of(b"K\x01\x8c\x01a\x86").unwrap().deserialize::<(u8, String)>().unwrap(),
        (1, "a".to_owned())
    );
    assert_eq!(value_of(b"C\x02\x00\xff").unwrap().deserialize::<Vec<u8>>().unwrap(), [0, 255]);
    let error = value_of(b"C\x02\x00\xff").unwrap().deserialize::<String>().unwrap_err();
    assert!(error.to_string().starts_with("holds bytes, which cannot be read as"), "{error}");
}

#[test]
fn what_is_no_session_is_an_error_that_says_why() {
    let malformed = |error: &PickleError| matches!(error, PickleError::Malformed(_));
    for pickle in [
        &b""[..],
        b".",
        b"not a pickle",
        b"{\"a\":1}",
        b"\x80\x06}.",
        b"}",
        b"(.",
        b"}s.",
        b"e.",
        b"\x80\x04}h\x00.",
        b"}(K\x01u.",
        b"}K\x01(K\x02\x86.",
        b"}K\x01(K\x02\x861.",
        b"}(\x8c\x01aN(s.",
        b"}U\x01\xe9Ns.",
        b"}Vk\nI010\ns.",
        b"}V\\U00110000\nNs.",
        b"}Vk\nL010L\ns.",
    ] {
        let error = read(pickle, LIMIT).unwrap_err();
        assert!(malformed(&error) || matches!(error, PickleError::Opcode(_)), "{pickle:?}: {error}");
    }
    assert_eq!(read(b"\x80\x04]K\x01a.", LIMIT), Err(PickleError::NotADictionary(Kind::List)));
    assert_eq!(read(b"}K\x01K\x02s.", LIMIT), Err(PickleError::Key(Kind::Int)));
    assert!(is_none(b"\x80\x04N."));
    assert!(!is_none(b"\x80\x04}."));
}

#[test]
fn classes_take_only_what_python_pickles_them_with() {
    for opcodes in [
        &b"cdatetime\ndate\nC\x04\x07\xe8\x02\x1e\x85R"[..],
        b"cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x02\x18\x00\x00\x00\x00\x00\x85R",
        b"cdatetime\ndatetime\nM\xe8\x07K\x01K\x01\x87R",
        b"cdatetime\ntimedelta\nK\x01\x85R",
        b"cdecimal\nDecimal\n\x8c\x03one\x85R",
        b"cbuiltins\nset\n}\x85R",
        b"cbuiltins\ngetattr\ncdatetime\ndate\n\x8c\x05today\x86R",
        b"c_codecs\nencode\n\x8c\x01a\x8c\x03zip\x86R",
        b"cuuid\nUUID\n\x8c\x01a\x85R",
        b"czoneinfo\nZoneInfo._unpickle\n\x8c\x0b/etc/passwdK\x01\x86R",
        b"czoneinfo\nZoneInfo._unpickle\n\x8c\x00K\x01\x86R",
        b"czoneinfo\nZoneInfo._unpickle\n\x8c\x03a bK\x01\x86R",
        b"cbuiltins\ngetattr\nczoneinfo\nZoneInfo\n\x8c\x03key\x86R",
    ] {
        assert!(unread(opcodes).is_some(), "{opcodes:?}");
    }
    let zone_name = |length: u8| {
        let name = [b"\x8c", &[length][..], &vec![b'a'; length.into()]].concat();
        [b"czoneinfo\nZoneInfo._unpickle\n", &name[..], b"K\x01\x86R"].concat()
    };
    assert!(value_of(&zone_name(255)).is_ok());
    // A class is not a value, and neither is an unfinished UUID.
    assert_eq!(unread(b"cbuiltins\nset\n").as_deref(), Some("builtins.set"));
    assert!(value_of(b"cuuid\nUUID\n)\x81").is_err());
    let with_argument = unread(b"cuuid\nUUID\nK\x01\x85\x81}(\x8c\x03intK\x05ub");
    assert_eq!(with_argument.as_deref(), Some("uuid.UUID"));
    assert!(value_of(b"}(]K\x01u").is_err(), "a list as a key");
    assert!(value_of(b"\x8f(]\x90").is_err(), "a list in a set");
    assert!(value_of(b"\x8f(]\x85\x90").is_err(), "a list in a tuple in a set");
}

/// The last valid and the first invalid value of dates, times and other bounded types.
#[test]
fn what_lies_beyond_its_bounds_is_no_value() {
    let bytes = |class: &str, state: &[u8], more: &[u8]| {
        let length = u8::try_from(state.len()).unwrap();
        [format!("cdatetime\n{class}\nC").as_bytes(), &[length], state, more].concat()
    };
    let delta = |days: i32, seconds: i32, microseconds: i32| {
        let numbers = [days, seconds, microseconds].map(|number| [b"J", &number.to_le_bytes()[..]].concat());
        [b"cdatetime\ntimedelta\n", &numbers.concat()[..], b"\x87R"].concat()
    };
    let zone = |offset: &[u8], more: &[u8]| [b"cdatetime\ntimezone\n", offset, more].concat();
    let decimal = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        [b"cdecimal\nDecimal\n\x8c", &[length][..], text.as_bytes(), b"\x85R"].concat()
    };
    let uuid = |key: &[u8; 3], number: &[u8]| {
        let length = u8::try_from(number.len()).unwrap();
        [b"cuuid\nUUID\n)\x81}(\x8c\x03", &key[..], b"\x8a", &[length], number, b"ub"].concat()
    };
    let (date, time) = ([7, 232, 2, 29], [23, 59, 59, 0x0f, 0x42, 0x3f]);
    let date_time = [&date[..], &time].concat();
    let good = [
        bytes("date", &date, b"\x85R"),
        bytes("date", &[39, 15, 12, 31], b"\x85R"),
        bytes("time", &time, b"\x85R"),
        bytes("datetime", &date_time, b"\x85R"),
        delta(999_999_999, 86_399, 999_999),
        delta(-999_999_999, 0, 0),
        zone(&delta(0, 86_399, 0), b"\x85R"),
        zone(&delta(-1, 1, 0), b"\x8c\x01x\x86R"),
        decimal("1.5E-7"),
        decimal("1E+123456789012345678"),
        decimal("-sNaN12"),
        decimal("-Infinity"),
        uuid(b"int", &[&[255; 16][..], &[0]].concat()),
        uuid(b"int", &[127; 15]),
    ];
    for pickle in &good {
        assert!(value_of(pickle).is_ok(), "{pickle:?}: {:?}", value_of(pickle));
    }
    let with = |mut state: Vec<u8>, place: usize, byte: u8| {
        state[place] = byte;
        state
    };
    let bad = [
        bytes("date", &[0, 0, 1, 1], b"\x85R"),
        bytes("date", &[39, 16, 1, 1], b"\x85R"),
        bytes("date", &[7, 231, 2, 29], b"\x85R"),
        bytes("time", &with(time.to_vec(), 0, 24), b"\x85R"),
        bytes("time", &with(time.to_vec(), 1, 60), b"\x85R"),
        bytes("time", &with(time.to_vec(), 2, 60), b"\x85R"),
        bytes("time", &with(time.to_vec(), 5, 0x40), b"\x85R"),
        bytes("time", &time[..5], b"\x85R"),
        bytes("time", &[&time[..], &[0]].concat(), b"\x85R"),
        bytes("time", &time, b"N\x86R"),
        bytes("datetime", &[&date_time[..], &[0]].concat(), b"\x85R"),
        bytes("datetime", &with(date_time.clone(), 1, 231), b"\x85R"),
        bytes("datetime", &with(date_time.clone(), 4, 24), b"\x85R"),
        bytes("datetime", &date_time, b"K\x01\x86R"),
        bytes("datetime", &date_time, &[&delta(0, 0, 0)[..], b"\x86R"].concat()),
        delta(1_000_000_000, 0, 0),
        delta(-1_000_000_000, 0, 0),
        delta(0, 86_400, 0),
        delta(0, -1, 0),
        delta(0, 0, 1_000_000),
        delta(0, 0, -1),
        zone(&delta(1, 0, 0), b"\x85R"),
        zone(&delta(-1, 0, 0), b"\x85R"),
        zone(b"K\x01", b"\x85R"),
        zone(&delta(0, 0, 0), b"K\x01\x86R"),
        decimal(""),
        decimal("-"),
        decimal("1."),
        decimal(".5"),
        decimal("E+5"),
        decimal("1E"),
        decimal("1E5"),
        decimal("1E+"),
        decimal("1.xE+1"),
        decimal("1E+1234567890123456789"),
        decimal("NaNx"),
        uuid(b"int", &[255; 16]),
        uuid(b"int", &[&[255; 16][..], &[1]].concat()),
        uuid(b"int", &[1; 18]),
        uuid(b"inx", &[1; 16]),
        b"cuuid\nUUID\n)\x81}(\x8c\x03inxK\x05ub".to_vec(),
    ];
    for pickle in &bad {
        let refused = match value_of(pickle) {
            // Such input never reads as a date, a number or the like.
            Ok(value) => {
                matches!(value.deserialize::<serde_json::Value>(), Err(crate::ValueError::PythonObject(_)))
            }
            Err(error) => matches!(error, PickleError::Arguments(_)),
        };
        assert!(refused, "{pickle:?}: {:?}", value_of(pickle));
    }
}

#[test]
fn limits_hold_to_the_byte_and_for_all_values_together() {
    let pickle = session_of(b"\x8c\x01v");
    assert!(read(&pickle, pickle.len()).is_ok());
    assert_eq!(read(&pickle, pickle.len() - 1), Err(PickleError::TooLarge(pickle.len() - 1)));
    // One bytes object used many times: each use is small, the total is not.
    let bytes = [&b"C\x64"[..], &[255; 100], b"\x94"].concat();
    let many = |count: u8| {
        let more: Vec<u8> = (1..count).flat_map(|key| [0x8c, 1, b'a' + key, b'h', 0]).collect();
        [b"\x80\x04}(\x8c\x01a", &bytes[..], &more, b"u."].concat()
    };
    assert!(read(&many(3), 2_000).is_ok());
    assert_eq!(read(&many(10), 2_000), Err(PickleError::TooLarge(2_000)));
    // The same within one value that is JSON.
    let text = [&b"](\x8c\x64"[..], &[b'x'; 100], b"\x94", &b"h\x00".repeat(50), b"e"].concat();
    assert!(read(&session_of(&text), 6_000).is_ok());
    assert_eq!(read(&session_of(&text), 5_000), Err(PickleError::TooLarge(5_000)));
    // The same for copies that are made on the way and thrown away.
    let names = [&b"c_codecs\nencode\n\x940\x8c\x64"[..], &[b'x'; 100], b"\x940\x8c\x06latin1\x940"].concat();
    let copies = [&names[..], &b"h\x00h\x01h\x02\x86R0".repeat(30), b"N"].concat();
    assert!(read(&session_of(&copies), 10_000).is_ok());
    assert_eq!(read(&session_of(&copies), 2_000), Err(PickleError::TooLong));
    // The same for the pickle of a value that is not JSON, which is larger than its JSON.
    let floats = [&b"(G\x3f\xf8\0\0\0\0\0\0\x94"[..], &b"h\x00".repeat(499), b"t"].concat();
    assert!(read(&session_of(&floats), 7_000).is_ok());
    assert_eq!(read(&session_of(&floats), 3_000), Err(PickleError::TooLarge(3_000)));
    // The same nesting limit as for JSON.
    for levels in crate::value::MAX_DEPTH - 3..=crate::value::MAX_DEPTH + 1 {
        let pickle = session_of(&[b"(".repeat(levels), b"l".repeat(levels)].concat());
        let json = format!(r#"{{"k":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!(read(&pickle, LIMIT).is_ok(), SessionData::from_json(&json).is_ok(), "{levels} levels");
    }
    // Dictionaries at the one-pass reader's entry limit, and one entry more.
    let entries = |count: usize| {
        let entry = |key| [&b"\x8c\x08"[..], format!("{key:08}").as_bytes(), b"K\x01"].concat();
        let entries: Vec<u8> = (0..count).flat_map(entry).collect();
        [b"\x80\x04}(", &entries[..], b"u."].concat()
    };
    assert_eq!(flat::read(&entries(1_000), LIMIT).map(|data| data.len()), Some(1_000));
    assert!(flat::read(&entries(1_001), LIMIT).is_none());
    assert_eq!(read(&entries(1_001), LIMIT).map(|data| data.len()), Ok(1_001));
    let flat = session_of(b"K\x01");
    let length = read(&flat, LIMIT).unwrap().to_json().len();
    assert!(flat::read(&flat, length).is_some());
}

#[test]
fn a_key_with_both_halves_of_a_pair_is_refused() {
    assert_eq!(read(b"}\x8c\x06\xed\xa0\xbe\xed\xb6\x80Ns.", LIMIT), Err(PickleError::Key(Kind::Str)));
    let data = read(b"}\x8c\x03\xed\xa0\xbeNs.", LIMIT).unwrap();
    assert_eq!(data.to_json(), r#"{"\ud83e":null}"#);
}

/// The one-pass reader agrees with the machine, and reads plain dictionaries only.
#[test]
fn one_pass_reads_what_the_machine_reads() {
    let text = b"\x8c\x01k\x94";
    let long = [b"X\x2c\x01\x00\x00", &[b'x'; 300][..]].concat();
    let flat: [&[&[u8]]; 12] = [
        &[b"\x80\x04}\x94."],
        &[b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00}(u."],
        &[b"\x80\x04}", text, b"Ns."],
        &[b"\x80\x04}\x94(", text, b"K\x07", b"\x8c\x01a\x8c\x00u."],
        &[b"\x80\x04}\x94(", text, b"M\xff\xff", b"\x8c\x01aJ\xff\xff\xff\xffu."],
        &[b"\x80\x04}\x94(", text, b"\x88", b"\x8c\x01a\x89u."],
        &[b"\x80\x04}\x94(", text, &long, b"\x94u."],
        &[b"\x80\x04}\x94", text, b"G\x3f\xb9\x99\x99\x99\x99\x99\x9as."],
        &[b"\x80\x04}\x94", text, b"G\x80\x00\x00\x00\x00\x00\x00\x00s."],
        // The later of two values counts, at the position of the first.
        &[b"\x80\x04}(", text, b"K\x01", b"\x8c\x01aK\x02", text, b"K\x03u."],
        &[b"\x80\x04}(\x8c\x10", b"sixteen letters!\x8c\x11seventeen letters", b"u."],
        &[b"\x80\x04}", text, b"Ns.what follows"],
    ];
    for parts in flat {
        let pickle = parts.concat();
        let (read, machine) = (flat::read(&pickle, LIMIT).unwrap(), read_by_machine(&pickle, LIMIT).unwrap());
        assert_eq!(read.to_json(), machine.to_json(), "{pickle:?}");
    }
    for value in [
        // A quote, a line end, a character outside of ASCII; a list, a long integer, a number outside of
        // JSON, a reference.
        &b"\x8c\x01\""[..],
        b"\x8c\x01\n",
        b"\x8c\x02\xc3\xa9",
        b"\x8c\x11sixteen letters!\x7f",
        b"]",
        b"\x8a\x01\x01",
        b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"h\x00",
    ] {
        assert!(flat::read(&session_of(value), LIMIT).is_none(), "{value:?}");
    }
    let whole = [&b"\x80\x04}(\x8c\x01aK\x01"[..], text, b"J\xff\xff\xff\xffu."].concat();
    assert!(flat::read(&whole, 4).is_none(), "larger than the limit when it is written out");
    for end in 0..whole.len() {
        assert!(flat::read(&whole[..end], LIMIT).is_none(), "cut after {end}");
    }
}
