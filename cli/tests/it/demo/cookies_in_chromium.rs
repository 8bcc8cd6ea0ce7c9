//! Which session cookie counts where a real browser sends others beside it: planted ones, and those of before a change of
//! the settings.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;
use cloakroom::{CookieScope, Error, MemoryStore, Session, SessionLayer, SessionStore, Settings};

use crate::support::chromium::Chromium;

/// Serves a site under all names of this machine for as long as the tests run; gives its port.
fn serve(router: Router) -> u16 {
    let (send, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap().port()).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    port.recv().unwrap()
}

async fn who(session: Session) -> Result<String, Error> {
    Ok(session.get::<String>("user")?.unwrap_or_else(|| "nobody".to_owned()))
}

fn pages(store: &Arc<MemoryStore>, settings: Settings) -> Router {
    let routes = Router::new()
        .route("/shop/login", get(async |session: Session| session.set("user", "Ada")))
        .route("/shop/visit", get(async |session: Session| session.set("visited", true)))
        .route("/shop/who", get(who));
    routes.layer(SessionLayer::new(Arc::clone(store), settings).unwrap())
}

/// The cookies that came with the request.
async fn sent(headers: HeaderMap) -> String {
    let cookies = headers.get("cookie").map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(cookies).into_owned()
}

/// Whom a page takes the browser for.
fn who_is(chromium: &Chromium, site: &str) -> String {
    chromium.go(&format!("{site}/shop/who"));
    chromium.text("body").unwrap()
}

/// What Python strips from a cookie's name and HTTP carries: Unicode's blanks.
const ODD_BLANKS: [char; 19] = [
    '\u{85}', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}',
    '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}', '\u{2028}', '\u{2029}', '\u{202f}',
    '\u{205f}', '\u{3000}',
];

#[test]
fn a_neighbours_page_plants_no_session_for_a_host_cookie() {
    const NAME: &str = "__Host-sessionid";
    let store = Arc::new(MemoryStore::new());
    let settings = Settings::hardened("secret");
    let mallorys = Session::new(Arc::clone(&store) as Arc<dyn SessionStore>, settings.clone());
    mallorys.set("user", "Mallory").unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(mallorys.save()).unwrap();
    let key = mallorys.session_key().unwrap();
    let value = format!("{NAME}={}", key.as_str());
    let behind_blanks = ODD_BLANKS.map(|blank| format!("{blank}{value}"));
    let nameless = [
        format!("={value}"),
        format!("= {value}"),
        format!("=\u{2000}{value}"),
        format!("\u{2000}={value}"),
        format!("=\t{value}"),
        format!("={}", value.to_uppercase()),
    ];
    let plain = [value.clone(), format!(" {value}"), value.replace("__Host-", "__HOST-")];
    let planted: Vec<String> = behind_blanks.into_iter().chain(nameless).chain(plain).collect();
    let headers: Vec<HeaderValue> = planted
        .iter()
        .map(|pair| {
            HeaderValue::from_bytes(format!("{pair}; Domain=site.localhost; Path=/").as_bytes()).unwrap()
        })
        .collect();
    let plant = async move |Path(number): Path<usize>| ([("set-cookie", headers[number].clone())], "planted");
    let router = Router::new().route("/plant/{number}", get(plant)).route("/sent", get(sent));
    let port = serve(router.merge(pages(&store, settings)));
    let (site, neighbour) =
        (format!("http://site.localhost:{port}"), format!("http://neighbour.site.localhost:{port}"));

    let chromium = Chromium::start();
    let mut kept = Vec::new();
    for (number, pair) in planted.iter().enumerate() {
        chromium.go(&site);
        chromium.forget_cookies();
        chromium.go(&format!("{neighbour}/plant/{number}"));
        chromium.go(&format!("{site}/sent"));
        if chromium.text("body").unwrap().contains(key.as_str()) {
            kept.push(pair.chars().next().unwrap());
        }
        assert_eq!(who_is(&chromium, &site), "nobody", "{pair:?} alone");
    }
    // Some version of the browser may keep fewer; these are what the attack lives on.
    for blank in [
        '\u{85}', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2003}', '\u{2028}', '\u{202f}', '\u{205f}',
        '\u{3000}',
    ] {
        assert!(
            kept.contains(&blank),
            "the browser sent none behind {blank:?}: this test shows nothing; {kept:?}"
        );
    }

    chromium.forget_cookies();
    chromium.go(&format!("{site}/shop/login"));
    let own = chromium.cookie(NAME).unwrap();
    assert!(own.secure && own.value != key.as_str());
    for (number, pair) in planted.iter().enumerate() {
        chromium.go(&format!("{neighbour}/plant/{number}"));
        assert_eq!(who_is(&chromium, &site), "Ada", "{pair:?} beside the user's own");
    }
    println!("{} of {} planted cookies were sent, and none counted", kept.len(), planted.len());
}

/// A change of the cookie's scope: settings before, and after.
type Change = (&'static str, fn(&mut Settings), fn(&mut Settings));

#[test]
fn browsers_with_the_cookie_of_before_a_change_of_its_scope_can_log_in() {
    let nothing: fn(&mut Settings) = |_| {};
    let of_domain: fn(&mut Settings) = |settings| settings.cookie_domain = Some("site.localhost".to_owned());
    let of_path: fn(&mut Settings) = |settings| settings.cookie_path = "/shop".to_owned();
    let partitioned: fn(&mut Settings) = |settings| settings.cookie_partitioned = true;
    let changes: [Change; 6] = [
        ("the host's, then the domain's", nothing, of_domain),
        ("the domain's, then the host's", of_domain, nothing),
        ("of all paths, then of one", nothing, of_path),
        ("of one path, then of all", of_path, nothing),
        ("of all sites around it, then of each", nothing, partitioned),
        ("of each site around it, then of all", partitioned, nothing),
    ];
    let chromium = Chromium::start();
    for (name, before, after) in changes {
        let store = Arc::new(MemoryStore::new());
        let settings = |change: fn(&mut Settings)| {
            let mut settings = Settings::new("secret");
            settings.reject_duplicate_cookies = true;
            settings.cookie_secure = true;
            change(&mut settings);
            settings
        };
        let (before, after) = (settings(before), settings(after));
        let mut former = CookieScope::of_host(before.cookie_path.clone());
        former.domain.clone_from(&before.cookie_domain);
        former.partitioned = before.cookie_partitioned;
        let mut healed = after.clone();
        healed.former_cookies = vec![former];
        // Cookies know no ports.
        let [before, after, healed] = [before, after, healed]
            .map(|settings| format!("http://site.localhost:{}", serve(pages(&store, settings))));

        // A browser from before, that comes for the first time after the change.
        chromium.go(&before);
        chromium.forget_cookies();
        chromium.go(&format!("{before}/shop/login"));
        assert_eq!(who_is(&chromium, &healed), "Ada", "{name}: the login goes on");
        chromium.go(&format!("{healed}/shop/visit"));
        assert_eq!(who_is(&chromium, &healed), "Ada", "{name}: also after the cookie was set anew");
        assert_eq!(chromium.count_of("sessionid"), 1, "{name}");

        // One that was locked out already.
        chromium.forget_cookies();
        for path in ["login", "who"] {
            chromium.go(&format!("{before}/shop/{path}"));
        }
        chromium.go(&format!("{after}/shop/login"));
        assert_eq!(chromium.count_of("sessionid"), 2, "{name}: else this test shows nothing");
        chromium.go(&format!("{after}/shop/login"));
        assert_eq!(who_is(&chromium, &after), "nobody", "{name}: it cannot log in");
        assert_eq!(who_is(&chromium, &healed), "nobody", "{name}: of two, neither counts");
        assert_eq!(who_is(&chromium, &healed), "Ada", "{name}: the former one is gone");
        assert_eq!(chromium.count_of("sessionid"), 1, "{name}");
    }
}
