//! What pages require of their users.

use super::*;

on_every_adapter!(
    each_requirement_lets_the_right_users_through,
    grants_are_asked_for_once_and_only_where_they_decide,
    exempt_paths_need_no_login,
);

const PATHS: [&str; 6] = ["/staff", "/superuser", "/group", "/permission", "/all", "/any"];

fn member(members: &Members, id: &str, change: impl FnOnce(&mut Member)) {
    members.add(id, id, change);
}

fn people() -> Arc<Members> {
    let members = Members::default();
    let grant = |member: &mut Member| {
        member.grants.permissions.insert("shop.add_order".to_owned());
    };
    let edit = |member: &mut Member| {
        member.grants.groups.insert("editors".to_owned());
    };
    member(&members, "user", |_| {});
    member(&members, "staff", |member| member.is_staff = true);
    member(&members, "root", |member| member.is_superuser = true);
    member(&members, "editor", edit);
    member(&members, "seller", grant);
    member(&members, "selling-staff", |member| {
        member.is_staff = true;
        grant(member);
    });
    member(&members, "inactive", |member| {
        (member.is_inactive, member.is_staff, member.is_superuser) = (true, true, true);
        grant(member);
        edit(member);
    });
    Arc::new(members)
}

async fn each_requirement_lets_the_right_users_through(on: Adapter) {
    let members = people();
    let site = memory(on, &members, Hook::Default).await;
    for (id, allowed) in [
        ("user", &[][..]),
        ("staff", &["/staff", "/any"]),
        ("root", &["/superuser", "/group", "/permission", "/any"]),
        ("editor", &["/group", "/any"]),
        ("seller", &["/permission"]),
        ("selling-staff", &["/staff", "/permission", "/all", "/any"]),
        ("inactive", &[]),
    ] {
        let mut browser = Browser::new();
        browser.get(site.url(&format!("/login?id={id}"))).await.ok();
        for path in PATHS {
            let wanted = match (id, allowed.contains(&path)) {
                (_, true) => (200, "welcome"),
                ("inactive", false) => (401, "Please log in."),
                (_, false) => (403, "You may not see this page."),
            };
            let reply = browser.get(site.url(path)).await;
            assert_eq!((reply.status, reply.body.as_str()), wanted, "{id}, {path}");
        }
    }
    for path in PATHS {
        assert_eq!(Browser::new().get(site.url(path)).await.status, 401, "{path}");
    }
}

async fn grants_are_asked_for_once_and_only_where_they_decide(on: Adapter) {
    let members = people();
    let site = memory(on, &members, Hook::Default).await;
    for (id, path, calls) in [
        ("seller", "/handler", &["find", "grants"][..]),
        ("seller", "/permission", &["find", "grants"]),
        ("seller", "/staff", &["find"]),
        ("seller", "/all", &["find"]),
        ("staff", "/any", &["find"]),
        ("editor", "/any", &["find", "grants"]),
        ("root", "/handler", &["find"]),
        ("root", "/permission", &["find"]),
    ] {
        let mut browser = Browser::new();
        browser.get(site.url(&format!("/login?id={id}"))).await.ok();
        members.calls();
        browser.get(site.url(path)).await;
        assert_eq!(members.calls(), calls, "{id}, {path}");
    }
    let mut browser = Browser::new();
    browser.get(site.url("/login?id=seller")).await.ok();
    members.fail(Some("grants"));
    assert_eq!(browser.get(site.url("/permission")).await.status, 503, "not the same as forbidden");
}

async fn exempt_paths_need_no_login(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    assert_eq!(Browser::new().get(site.url("/scope/open")).await.ok().body, "open");
    assert_eq!(Browser::new().get(site.url("/scope/open?next=/scope/inside")).await.ok().body, "open");
    assert_eq!(Browser::new().get(site.url("/scope/inside")).await.status, 401);
    let mut browser = Browser::new();
    browser.get(site.url("/login?id=7")).await.ok();
    assert_eq!(browser.get(site.url("/scope/inside")).await.ok().body, "inside");
}
