//! What containerd's own tests of its filters establish, on objects of ours, and what they leave open.

use std::borrow::Cow;

use proptest::prelude::*;

use super::{Adaptor, Filter};
use crate::types::Labels;

/// Presents an empty `image` as absent and an empty `parent` as present, as containerd's adaptors do.
struct Object {
    name: &'static str,
    image: &'static str,
    labels: Labels,
}

impl Adaptor for Object {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match *path {
            ["name"] => Some(self.name.into()),
            ["parent"] => Some("".into()),
            ["image"] => (!self.image.is_empty()).then(|| self.image.into()),
            ["labels", ref key @ ..] => self.labels.field(key).map(Cow::from),
            _ => None,
        }
    }
}

fn objects() -> Vec<Object> {
    let object = |name, image, labels: &[(&str, &str)]| Object {
        name,
        image,
        labels: Labels::parse(labels.iter().map(|(key, value)| (key.to_string(), value.to_string()))).unwrap(),
    };
    vec![
        object("web", "", &[("tier", "front")]),
        object("db", "", &[]),
        object("web", "a b, c", &[("tier", "back"), ("a label of many words", "yes")]),
        object("db", "abc", &[("db", "true"), ("a.b/c", "x")]),
        object("quoted", "xyz", &[(r#"with \ and ""#, "yes")]),
        object("dotted", "", &[(r#"with \ and ".rest"#, "yes")]),
        object("odd", "é\n牛", &[("tier", "snake_case.and-dash"), ("digest", "sha256:a=b/c|d")]),
    ]
}

/// Returns the numbers of the matching objects.
fn list(filters: &[&str]) -> Vec<usize> {
    let filter = Filter::parse_all(filters).unwrap_or_else(|err| panic!("{filters:?}: {err}"));
    let objects = objects();
    (0..objects.len()).filter(|&i| filter.matches(&objects[i])).collect()
}

fn error(filter: &str) -> String {
    Filter::parse_all(&[filter]).unwrap_err().to_string()
}

const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6];

#[test]
fn selectors_match() {
    for (filter, expected) in [
        // Presence.
        ("", ALL),
        ("name", ALL),
        ("parent", ALL),
        ("image", &[2, 3, 4, 6]),
        ("nothing", &[]),
        ("name.below", &[]),
        ("labels", &[]),
        ("labels.tier", &[0, 2, 6]),
        ("labels.tier,image", &[2, 6]),
        // Equality.
        ("name==web", &[0, 2]),
        ("name==we", &[]),
        ("parent==\"\"", ALL),
        ("image==\"\"", &[]),
        ("labels.tier==front", &[0]),
        ("labels.tier==snake_case.and-dash", &[6]),
        ("labels.digest==sha256:a=b/c|d", &[6]),
        ("name==db,labels.db", &[3]),
        ("name==db,labels.db==true", &[3]),
        ("name==db,labels.db==false", &[]),
        ("image==\"a b, c\"", &[2]),
        // Inequality takes an absent field for an empty one.
        ("name!=db", &[0, 2, 4, 5, 6]),
        ("labels.tier!=front", &[1, 2, 3, 4, 5, 6]),
        ("image!=\"\"", &[2, 3, 4, 6]),
        ("nothing!=x", ALL),
        ("nothing!=\"\"", &[]),
        // So do regular expressions.
        ("image~=[ab]+,name!=db", &[2]),
        ("image~=/[ab]+/,name!=db", &[2]),
        ("image~=|[ab]{1,2}|,name!=db", &[2]),
        ("image~=\"^[ab]{3}\"", &[]),
        ("image~=/[abc]{3}\"\\//", &[]),
        ("image~=x*", ALL),
        ("image~=^$", &[0, 1, 5]),
        ("nothing~=\".\"", &[]),
        ("labels.digest~=|b/c[\\|]|", &[6]),
        ("name~=^(web|db)$", &[0, 1, 2, 3]),
        ("image~=牛", &[6]),
        ("image~=|牛|", &[6]),
        // Quoted fields; the parts of a label's key may be quoted apart.
        (r#""name"==web"#, &[0, 2]),
        (r#"name==web,labels."a label of many words""#, &[2]),
        (r#"labels."a.b/c"==x"#, &[3]),
        (r#"labels.a."b/c"==x"#, &[3]),
        (r#"labels."with \\ and \""==yes"#, &[4]),
        (r#"labels."with \\ and \"".rest==yes"#, &[5]),
        // White space before fields, operators and values.
        ("  name  ==  web", &[0, 2]),
        ("name\n==\tweb,\u{a0}labels.\u{85}tier", &[0, 2]),
        ("name==web, labels. tier==front", &[0]),
    ] {
        assert_eq!(list(&[filter]), expected, "{filter:?}");
    }
}

#[test]
fn one_of_several_filters_is_enough() {
    assert_eq!(list(&[]), ALL);
    assert_eq!(list(&["name==quoted", "name==dotted"]), [4, 5]);
    assert_eq!(list(&["name==quoted", "name==web,labels.tier==front"]), [0, 4]);
    assert_eq!(list(&["name==quoted", ""]), ALL);
    assert!(Filter::parse_all(&["", "name=="]).is_err());
}

#[test]
fn escapes_are_those_of_go() {
    for (filter, expected) in [
        (r#"image=="\u00e9\n\u725b""#, &[6][..]),
        (r#"image=="\xc3\xa9\012\U0000725b""#, &[6]),
        (r#"image=="\303\251\n\xe7\x89\x9b""#, &[6]),
        (r#"name=="\x77\145b""#, &[0, 2]),
        (r#"name!="\a\b\f\n\r\t\v\\\"""#, ALL),
        // Neither is valid UTF-8, so nothing is equal.
        (r#"name=="\xff""#, &[]),
        (r#"name=="\ud800""#, &[]),
    ] {
        assert_eq!(list(&[filter]), expected, "{filter:?}");
    }
    for literal in [
        r#""\g""#,
        r#""\'""#,
        r#""\/""#,
        r#""\xa""#,
        r#""\xaz""#,
        r#""\u12""#,
        r#""\U00110000""#,
        r#""\08""#,
        r#""\400""#,
        r#""\"#,
        "\"a\nb\"",
        "\"a\0b\"",
        "\"\u{fffd}\"",
    ] {
        assert!(Filter::parse_all(&[format!("name=={literal}")]).is_err(), "{literal:?}");
    }
    // Escapes are decoded before the expression is read, and only the delimiter in use can be escaped.
    assert_eq!(list(&[r"labels.digest~=/^sha\\d+:/"]), [6]);
    assert_eq!(list(&[r"labels.digest~=^sha\d+:"]), [6]);
    assert!(Filter::parse_all(&[r"name~=/\d/"]).is_err());
    assert!(Filter::parse_all(&[r"name~=/\|/"]).is_err());
}

#[test]
fn mistakes_are_pointed_at() {
    for (filter, expected) in [
        ("name==web,", "expected a field name or a double-quoted one at byte 10, found the end"),
        ("labels.", "expected a field name or a double-quoted one at byte 7, found the end"),
        ("labels.?a==b", r#"expected a field name or a double-quoted one at byte 7, found "?a==b""#),
        ("labels.|a|==b", r#"expected a field name or a double-quoted one at byte 7, found "|a|==b""#),
        ("image~=,id?=?x", r#"expected a value at byte 7, found ",id?=?x""#),
        ("name==", "expected a value at byte 6, found the end"),
        ("name==.x", r#"expected a value at byte 6, found ".x""#),
        ("name==/web", r#"expected a plain or a double-quoted value at byte 6, found "/web""#),
        ("name~=/web", r#"quoted text without its closing quote at byte 6, found "/web""#),
        ("name==\"w\\eb\"", r#"illegal escape sequence at byte 8, found "\\eb\"""#),
        ("name==web db", r#"expected "," or the end of the filter at byte 9, found " db""#),
        ("name==\"web\"db", r#"expected "," or the end of the filter at byte 11, found "db""#),
    ] {
        assert_eq!(error(filter), format!("filter: {expected}"), "{filter:?}");
    }
    for filter in ["labels.ns/key==value", "name=web", "name===web", "name=~web", "name ", "a b", "name\0"] {
        let message = error(filter);
        assert!(message.starts_with(r#"filter: expected "==", "!=" or "~=""#), "{filter:?}: {message}");
    }
    for filter in
        [" ", ",", ",name", "name,,name", "==x", "牛==x", "-a", "name==x ,name", "labels .tier", "name==a\0", "\0"]
    {
        assert!(Filter::parse_all(&[filter]).is_err(), "{filter:?}");
    }
}

#[test]
fn expressions_are_those_of_go() {
    let matches = |pattern: &str, value: &str| super::Pattern::compile(pattern).unwrap().is_match(value);
    for (pattern, value, expected) in [
        (r"^\d\w\s\D\W\S$", "1a\tx-y", true),
        (r"\d|\w|\s", "٣é\u{b}", false),
        (r"^[\d\s-x]+$", "1 -x", true),
        (r"^[^\W\d]+$", "abc_", true),
        (r"^[^\W\d]+$", "abc1", false),
        (r"\bcd\b", "abécd", true),
        (r"\Bcd", "abécd", false),
        (r"^\Qa.b*\E+$", "a.b***", true),
        (r"^\Qa.b", "a.b", true),
        (r#"^{"a":{}}$"#, r#"{"a":{}}"#, true),
        (r"^a{,2}$", "a{,2}", true),
        (r"^a{01}$", "a{01}", true),
        (r"^a{2}b{1,}c{0,1}$", "aabbb", true),
        (r"^[[]$", "[", true),
        (r"^[]a]+$", "]a", true),
        (r"^[^]a]$", "]", false),
        (r"^[a&&b]+$", "a&b", true),
        (r"^[+--a~~]+$", "+,-a~", true),
        (r"^[[:alpha:][:^alnum:]]+$", "a-", true),
        (r"^[\]\x41-\x{43}-]+$", "]ABC-", true),
        (r"^\<a\>\_\-\/$", "<a>_-/", true),
        (r"^\x{e9}\pL\p{Greek}\101$", "éñλA", true),
        (r"^\p{^Greek}\P{^Greek}[\p{^L}]$", "aλ1", true),
        (r"(?i)^É(?P<n>x)$", "éX", true),
        (r"(?s)a.b", "a\nb", true),
        (r"a.b", "a\nb", false),
        // Go refuses these, and containerd then matches nothing.
        ("[", "[", false),
        ("(", "(", false),
        ("[b-a]", "b", false),
        (r"\", "\\", false),
        (r"\8", "8", false),
        ("*", "*", false),
    ] {
        assert_eq!(matches(pattern, value), expected, "{pattern:?} on {value:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let is_refused = |filters: &[String], problem: &str| {
        let err = Filter::parse_all(filters).unwrap_err().to_string();
        assert!(err.contains(problem), "{err}");
    };
    is_refused(&["a".repeat(Filter::MAX_LEN + 1)], "65537 bytes in one filter, the limit is 65536");
    is_refused(&vec!["a".repeat(Filter::MAX_LEN); 17], "bytes in all filters");
    is_refused(&["a,".repeat(Filter::MAX_SELECTORS) + "a"], "16385 selectors, the limit is 16384");
    is_refused(&vec!["a~=b".to_owned(); 33], "33 regular expressions, the limit is 32");
    is_refused(&["a~=(((x{100}){100}){100}){100}".to_owned()], "bytes when compiled");
}

#[test]
fn what_every_match_must_have_is_known() {
    let required =
        |filters: &[&str], path: &[&str]| Filter::parse_all(filters).unwrap().required(path).map(str::to_owned);
    let unpack = r#"labels."containerd.io/snapshot.ref"==sha256:a,parent=="ns/1/b""#;
    assert_eq!(required(&[unpack], &["parent"]).as_deref(), Some("ns/1/b"));
    assert_eq!(required(&[unpack], &["labels", "containerd.io/snapshot.ref"]).as_deref(), Some("sha256:a"));
    assert_eq!(required(&[unpack], &["name"]), None);
    assert_eq!(required(&["name!=a"], &["name"]), None);
    assert_eq!(required(&["name==a", "name==a,kind==view"], &["name"]).as_deref(), Some("a"));
    assert_eq!(required(&["name==a", "name==b"], &["name"]), None);
    assert_eq!(required(&["name==a", "kind==view"], &["name"]), None);
    assert_eq!(required(&["name==a", ""], &["name"]), None);
    assert!(Filter::parse_all(&["name==a", ""]).unwrap().matches_everything());
    assert!(!Filter::parse_all(&["name"]).unwrap().matches_everything());
}

proptest! {
    #[test]
    fn no_input_panics(filter: String) {
        if let Ok(filter) = Filter::parse_all(&[filter]) {
            for object in objects() {
                filter.matches(&object);
            }
        }
    }

    #[test]
    fn nothing_like_a_filter_panics(filter in r#"[a-z0_.,=!~ "/|\\\[\]{}()*^:é-]{0,40}"#) {
        if let Ok(filter) = Filter::parse_all(&[filter]) {
            for object in objects() {
                filter.matches(&object);
            }
        }
    }

    #[test]
    fn quoting_round_trips(value: String) {
        let escaped: String = value.chars().map(|ch| format!("\\U{:08x}", u32::from(ch))).collect();
        let filter = Filter::parse_all(&[format!("name==\"{escaped}\"")]).unwrap();
        prop_assert_eq!(filter.required(&["name"]), Some(value.as_str()));
    }
}
