//! The example `shop` on both frameworks: its handlers alone, and in a real Chromium.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use cloakroom::testing::TestSite;
use cloakroom::{Settings, Site, WATCH_INTERVAL};

use crate::support::browser::{Browser, Reply, serve};
use crate::support::chromium::Chromium;

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/shop/axum.rs"]
mod on_axum;

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/shop/actix.rs"]
mod on_actix;

const SECRET: &str = "the secret of a shop in a test, long enough";
const PASSWORD: &str = "open sesame";

/// How late a poll of the store may be on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The members of the shop of a framework: each has the types of its own copy of `shop.rs`.
macro_rules! members {
    ($shop:ident) => {
        $shop::shop::Members::with_password(PASSWORD).await.unwrap()
    };
}

/// Serves the shop on axum with this store; gives its address.
async fn axum_shop(store: &str) -> String {
    let app = on_axum::app(&site(store).await, members!(on_axum)).unwrap();
    serve(app).await
}

async fn site(store: &str) -> Site {
    let site = Site::connect_or_create(store, Settings::new(SECRET)).await.unwrap();
    site.index_user_sessions().await.unwrap()
}

/// Serves the shop on actix-web, on a thread of its own.
async fn actix_shop(store: &str) -> String {
    let (listener, store) = (TcpListener::bind("127.0.0.1:0").unwrap(), store.to_owned());
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = on_actix::serve(&site(&store).await, members!(on_actix), listener);
            server.unwrap().await.unwrap();
        });
    });
    address
}

/// The token in the first form of a page.
fn token(page: &str) -> &str {
    let (_, token) = page.split_once(r#"name="csrfmiddlewaretoken" value=""#).expect("a form");
    token.split_once('"').unwrap().0
}

impl Browser {
    /// Sends a form of this page, with its token.
    async fn fill(&mut self, shop: &str, page: &str, action: &str, fields: &str) -> Reply {
        let page = self.get(format!("{shop}{page}")).await.ok().body;
        let fields = format!("csrfmiddlewaretoken={}&{fields}", token(&page));
        self.post_form(format!("{shop}{action}"), &fields).await
    }
}

async fn from_the_cart_to_the_order(shop: &str) {
    let mut browser = Browser::new();
    for _ in 0..2 {
        assert_eq!(browser.fill(shop, "/", "/cart", "tea=Assam").await.status, 303);
    }
    let page = browser.get(shop).await.ok().body;
    assert!(page.contains("In the cart: 2 × Assam") && page.contains("Assam is in your cart."), "{page}");
    assert!(!browser.get(shop).await.ok().body.contains("is in your cart"), "a message is shown once");
    assert_eq!(browser.fill(shop, "/", "/cart", "tea=Coffee").await.status, 303);
    assert!(browser.get(shop).await.ok().body.contains("There is no such tea."));
    assert_eq!(browser.post_form(format!("{shop}/cart"), "tea=Assam").await.status, 403, "no token");

    let login = browser.get(format!("{shop}/checkout")).await;
    assert_eq!((login.status, location(&login)), (302, "/login?next=/checkout"));
    let wrong = browser.fill(shop, "/login", "/login", "username=ada&password=wrong").await;
    assert!(wrong.status == 200 && wrong.body.contains("do not fit"), "{}", wrong.body);
    let to_elsewhere = log_in_to(&mut browser, shop, "//evil.example/").await;
    assert_eq!((to_elsewhere.status, location(&to_elsewhere)), (303, "/"));
    let mut cookies = to_elsewhere.set_cookies().into_iter();
    let cookie = cookies.find(|cookie| cookie.starts_with("sessionid=")).unwrap();
    assert!(cookie.contains("Max-Age=2592000"), "remembered: {cookie}");
    assert!(browser.get(shop).await.ok().body.contains("2 × Assam"), "the visitor's cart is the member's");
    assert_eq!(browser.fill(shop, "/", "/logout", "").await.status, 303);

    assert_eq!(browser.fill(shop, "/", "/cart", "tea=Sencha").await.status, 303);
    let to_the_order = log_in_to(&mut browser, shop, "/checkout").await;
    assert_eq!((to_the_order.status, location(&to_the_order)), (303, "/checkout"));
    let page = browser.get(format!("{shop}/checkout")).await.ok().body;
    assert!(
        page.contains("In the cart: 1 × Sencha<") && page.contains(r#"<span id="user">ada</span>"#),
        "{page}"
    );
    assert_eq!(browser.fill(shop, "/checkout", "/checkout", "").await.status, 303);
    let page = browser.get(shop).await.ok().body;
    assert!(page.contains("Thank you, ada: 1 packets") && page.contains("In the cart: nothing"), "{page}");
}

async fn log_in_to(browser: &mut Browser, shop: &str, next: &str) -> Reply {
    let fields = format!("username=ada&password=open+sesame&remember=on&next={next}");
    browser.fill(shop, "/login", "/login", &fields).await
}

fn location(reply: &Reply) -> &str {
    reply.headers["location"].to_str().unwrap()
}

#[tokio::test]
async fn from_the_cart_to_the_order_on_axum() {
    from_the_cart_to_the_order(&axum_shop("memory:").await).await;
}

#[tokio::test]
async fn from_the_cart_to_the_order_on_actix_web() {
    from_the_cart_to_the_order(&actix_shop("memory:").await).await;
}

/// As `docs/shop.md` shows it.
#[tokio::test]
async fn a_handler_is_tested_with_a_session_in_memory() {
    use tower::ServiceExt;

    let settings = Settings::new(SECRET);
    let store = std::sync::Arc::new(cloakroom::MemoryStore::new());
    let site = Site::new(store.clone(), settings.clone()).unwrap();
    let app = on_axum::app(&site, members!(on_axum)).unwrap();
    let session = TestSite::on(store, settings).unwrap().session();
    let session =
        session.set(on_axum::shop::CART, BTreeMap::from([("Assam".to_owned(), 3)])).save().await.unwrap();
    let request = http::Request::get("/").header("cookie", session.cookie());
    let response = app.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let page = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    assert!(String::from_utf8_lossy(&page).contains("3 × Assam"));
}

/// Two processes' worth of sites on one store: the shop of each framework.
#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_log_out_the_others_closes_the_other_tabs_socket() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("shop.sqlite3").display());
    let (axum, actix) = (axum_shop(&store).await, actix_shop(&store).await);
    tokio::task::spawn_blocking(move || {
        visit(&axum, &actix, 1);
        // The last login of the first visit is one of the others now.
        visit(&actix, &axum, 2);
    })
    .await
    .unwrap();
}

/// Logs in here and there, and logs out the others there; so many they are.
fn visit(here: &str, there: &str, others: u32) {
    let (first, second) = (Chromium::start(), Chromium::start());
    // A visitor's cart, the way to the login, and back to the page that was asked for.
    first.go(here);
    first.click("#teas button[value=Assam]");
    first.wait_until_says(".success", "Assam is in your cart.");
    first.click("#checkout");
    first.wait_until_finds("#login-form input[name=next][value='/checkout']");
    log_in(&first);
    first.wait_until_finds("#order");
    assert!(first.run("return location.pathname") == "/checkout");
    first.wait_until_says("#cart", "1 × Assam");
    first.wait_until_says("#socket", "connected");

    second.go(&format!("{there}/login"));
    log_in(&second);
    second.wait_until_says("#socket", "connected");
    second.wait_until_says("ul", "(here)");
    second.click("#others button");
    let start = Instant::now();
    second.wait_until_says(".success", &format!("Logged out elsewhere: {others}."));
    first.wait_until_says("#socket", "logged out");
    assert!(start.elapsed() < WATCH_INTERVAL + SLACK, "{:?}", start.elapsed());
    second.wait_until_says("#socket", "connected");
    first.go(&format!("{here}/checkout"));
    first.wait_until_finds("#login-form");
}

fn log_in(browser: &Chromium) {
    browser.fill("input[name=username]", "ada");
    browser.fill("input[name=password]", PASSWORD);
    browser.click("#login-form button");
}

#[test]
fn each_shop_is_at_most_330_lines_with_everything() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop");
    let lines = |file: &str| std::fs::read_to_string(root.join(file)).unwrap().lines().count();
    for framework in ["axum.rs", "actix.rs"] {
        let all: usize = [framework, "shop.rs", "page.html"].into_iter().map(lines).sum();
        assert!(all <= 330, "{framework}: {all}");
    }
}
