use prost::Message;

use super::messages::{AttributeContext, HeaderMap as RawHeaders, Request};
use super::*;
use crate::gate::identity::Identity;

fn header(key: &str, value: &[u8]) -> Header {
    Header { key: key.into(), value: value.to_vec(), raw_value: Vec::new() }
}

fn question(headers: Vec<Header>) -> HttpRequest {
    HttpRequest {
        method: b"GET".to_vec(),
        headers,
        path: b"/a/..%2fb?q=1".to_vec(),
        host: b"wiki.example.com:8443".to_vec(),
        header_map: None,
    }
}

/// The reading of a question: its texts, cookies, and whether a person asks.
fn asked(http: &HttpRequest) -> Option<([String; 3], Vec<Vec<u8>>, bool)> {
    let headers = needed_headers(http)?;
    let cookies = questions::cookies_of(&headers)?;
    let asked = read(http, &headers, &cookies)?;
    let cookies = asked.cookies.iter().map(|cookie| cookie.to_vec()).collect();
    Some(([asked.method, asked.host, asked.target].map(str::to_owned), cookies, asked.wants_page))
}

#[test]
fn a_question_is_read_as_envoy_sends_it() {
    let headers = vec![
        header("cookie", b"sessionid=one"),
        header("accept", b"text/html,*/*"),
        header("x-forwarded-uri", b"/public"),
        header("x-forwarded-host", b"evil.example"),
    ];
    let of_map = question(headers);
    let read = asked(&of_map).unwrap();
    let texts = ["GET", "wiki.example.com:8443", "/a/..%2fb?q=1"].map(str::to_owned);
    let expected = (texts, vec![b"sessionid=one".to_vec()], true);
    assert_eq!(read, expected);
    // With `encode_raw_headers`, which keeps headers of a name apart.
    let raw = |key: &str, value: &str| Header { key: key.into(), value: Vec::new(), raw_value: value.into() };
    let headers = vec![raw("Cookie", "a=1"), raw("cookie", "b=2"), raw("accept", "application/json")];
    let http = HttpRequest { header_map: Some(RawHeaders { headers }), ..question(Vec::new()) };
    let (_, cookies, wants_page) = asked(&http).unwrap();
    assert_eq!((cookies, wants_page), (vec![b"a=1".to_vec(), b"b=2".to_vec()], false));
    let post = HttpRequest { method: b"POST".to_vec(), ..of_map };
    assert!(!asked(&post).unwrap().2);
}

#[test]
fn a_question_that_is_no_text_is_malformed() {
    assert!(asked(&HttpRequest { path: b"/\xff".to_vec(), ..question(Vec::new()) }).is_none());
    assert!(asked(&HttpRequest { host: b"\xff".to_vec(), ..question(Vec::new()) }).is_none());
    assert!(asked(&HttpRequest { method: b"\xff".to_vec(), ..question(Vec::new()) }).is_none());
    assert!(asked(&question(vec![header("cookie", b"a=\n")])).is_none());
    assert!(asked(&question(vec![header("cookie", b"a=b"); 65])).is_none());
    assert!(asked(&question(vec![header("other", b"\n\xff")])).is_some());
}

/// The bytes of a question with headers that are not UTF-8 are still a question.
#[test]
fn a_header_that_is_not_utf_8_makes_no_rpc_error() {
    let http = question(vec![header("x-odd", b"\xff"), header("cookie", b"sessionid=\xff")]);
    let request = Some(Request { http: Some(http) });
    let bytes = CheckRequest { attributes: Some(AttributeContext { request }) }.encode_to_vec();
    assert!(CheckRequest::decode(bytes.as_slice()).is_ok());
}

/// The bytes that protoc makes of a question, with fields that are not read here.
#[test]
fn the_numbers_of_the_fields_are_envoys() {
    let mut headers = field(1, b"cookie");
    headers.extend(field(2, b"a=b"));
    let http = [
        field(1, b"id"),
        field(2, b"PUT"),
        field(3, &headers),
        field(4, b"/x"),
        field(5, b"h"),
        field(10, b"HTTP/1.1"),
    ];
    let attributes = [field(1, b""), field(4, &field(2, &http.concat()))].concat();
    let read = CheckRequest::decode(field(1, &attributes).as_slice()).unwrap();
    let http = read.attributes.unwrap().request.unwrap().http.unwrap();
    let expected = HttpRequest {
        method: b"PUT".to_vec(),
        headers: vec![header("cookie", b"a=b")],
        path: b"/x".to_vec(),
        host: b"h".to_vec(),
        header_map: None,
    };
    assert_eq!(http, expected);

    let answer = Answer {
        status: StatusCode::FOUND,
        headers: vec![(ACCEPT, HeaderValue::from_static("v"))],
        body: "b",
    };
    let option =
        [field(1, &[field(1, b"accept"), field(2, b"v")].concat()), vec![3 << 3, 2, 4 << 3, 1]].concat();
    // 302 in base 128.
    let denied = [field(1, &[1 << 3, 0xae, 0x02]), field(2, &option), field(3, b"b")].concat();
    let bytes = [field(1, &[1 << 3, 7]), field(2, &denied)].concat();
    assert_eq!(response(&HttpRequest::default(), &answer).encode_to_vec(), bytes);
}

/// A field of bytes, shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

#[test]
fn each_identity_header_overwrites_and_aliases_go() {
    let names = [
        "x-user-id",
        "x_user_id",
        "X-User-Groups",
        "x.user-groups",
        "X-USER_ASSERTION",
        "x-user-ids",
        "x_user",
        "cookie",
    ];
    let http = question(names.iter().map(|name| header(name, b"evil")).collect());
    for answer in [Answer::allowed_to_anyone(), Answer::allowed(&ada(), "assertion".to_owned())] {
        let is_ada = answer.headers.contains(&(IDENTITY_HEADERS[0].clone(), HeaderValue::from_static("7")));
        let response = response(&http, &answer);
        assert_eq!(response.status.unwrap().code, 0);
        let Some(HttpResponse::Ok(ok)) = response.http_response else { panic!("denied") };
        assert_eq!(ok.headers_to_remove, ["x_user_id", "x.user-groups", "X-USER_ASSERTION"]);
        assert_eq!(ok.headers.len(), IDENTITY_HEADERS.len(), "no other header goes to the back end");
        for (option, name) in ok.headers.iter().zip(&IDENTITY_HEADERS) {
            assert_eq!(option.append_action(), AppendAction::OverwriteIfExistsOrAdd);
            assert!(option.keep_empty_value);
            let header = option.header.as_ref().unwrap();
            assert_eq!((header.key.as_slice(), !header.value.is_empty()), (name.as_str().as_bytes(), is_ada));
        }
    }
}

#[test]
fn who_may_not_pass_is_denied_with_the_status() {
    let to_login = Answer::log_in(Kind::EnvoyGrpc, Some("https://www.example.com/login/?next=/".to_owned()));
    for (answer, code, location) in [
        (Answer::forbidden(), 403, false),
        (Answer::unavailable(), 503, false),
        (Answer::log_in(Kind::EnvoyGrpc, None), 401, false),
        (to_login, 302, true),
    ] {
        let response = response(&question(Vec::new()), &answer);
        assert_eq!(response.status.unwrap().code, 7);
        let Some(HttpResponse::Denied(denied)) = response.http_response else { panic!("allowed") };
        assert_eq!(denied.status.unwrap().code, code);
        let names: Vec<_> = denied.headers.iter().map(|option| option.header.clone().unwrap().key).collect();
        assert_eq!(names.contains(&b"location".to_vec()), location);
        assert!(names.contains(&b"cache-control".to_vec()) && !denied.body.is_empty());
    }
}

fn ada() -> Identity {
    Identity {
        id: "7".to_owned(),
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        groups: vec!["editors".to_owned()],
        is_staff: true,
        is_superuser: false,
        ..Identity::default()
    }
}
