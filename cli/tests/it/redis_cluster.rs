//! Commands at a Redis Cluster: all of its sessions, or none and an error.

use crate::support::command::{cloakroom, run, with_secret};
use crate::support::project::Project;
use crate::support::servers::redis::start_cluster;
use crate::support::sessions::{create, open, sqlite};

#[tokio::test(flavor = "multi_thread")]
async fn no_command_takes_a_node_for_the_cluster() {
    let (nodes, url) = start_cluster().await;
    let store = open(&url).await;
    for _ in 0..60 {
        create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = sqlite(folder.path());
    let node = format!("redis://127.0.0.1:{}", nodes[0].port);
    for command in [
        ["count"].as_slice(),
        &["list"],
        &["check"],
        &["clearsessions"],
        &["show", "abcdefgh"],
        &["delete", "abcdefgh"],
        &["revoke", "--user", "7"],
        &["user-sessions", "list", "--user", "7"],
        &["user-sessions", "rebuild"],
    ] {
        let ran = with_secret(&[command, &["--store", &node]].concat(), "");
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("use redis+cluster://"), "{command:?}: {ran:?}");
        assert!(!ran.stderr.contains("the target"), "{ran:?}");
    }
    for (from, to) in [(&node, &target), (&target, &node)] {
        let copied = with_secret(&["copy", "--from", from, "--to", to], "");
        assert!(copied.code == 1 && copied.stderr.contains("use redis+cluster://"), "{copied:?}");
    }

    assert_eq!(with_secret(&["count", "--store", &url], "").stdout, "60 live, 0 expired\n");
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url], "");
    assert_eq!(
        (revoked.code, revoked.stdout.as_str()),
        (0, "60 sessions of user 7 revoked\n"),
        "{revoked:?}"
    );
}

/// django-redis with redis-py's cluster client, as sites have it: its constructor wants a node and no pool.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_of_a_django_project_is_taken_as_one() {
    let (nodes, _url) = start_cluster().await;
    let [first, second] = [0, 1].map(|index| format!("redis://127.0.0.1:{}", nodes[index].port));
    let project = Project::new(&format!(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'\n\
         CACHES = {{'default': {{'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': ['{first}/0', '{second}/0'],\n\
         'OPTIONS': {{'REDIS_CLIENT_CLASS': 'mysite.cluster.RedisCluster'}}}}}}"
    ));
    let client = "from redis.cluster import RedisCluster as Client\n\n\n\
         class RedisCluster(Client):\n    \
             def __init__(self, connection_pool, **kwargs):\n        \
                 node = connection_pool.connection_kwargs\n        \
                 super().__init__(host=node['host'], port=node['port'], **kwargs)\n";
    std::fs::write(project.path().join("mysite/cluster.py"), client).unwrap();
    let code = "from importlib import import_module\n\
         from django.conf import settings\n\
         for number in range(40):\n    \
             session = import_module(settings.SESSION_ENGINE).SessionStore()\n    \
             session['_auth_user_id'] = '7'\n    \
             session.save()";
    project.manage(&["shell", "-c", code]);
    let ask = |arguments: &[&str]| {
        run(cloakroom(&[arguments, &["--from-django", &project.manage_py()]].concat()), b"")
    };
    assert_eq!(ask(&["count"]).stdout, "40 live, 0 expired\n");
    let revoked = ask(&["revoke", "--user", "7"]);
    assert_eq!(
        (revoked.code, revoked.stdout.as_str()),
        (0, "40 sessions of user 7 revoked\n"),
        "{revoked:?}"
    );
    let settings = ask(&["settings", "--json"]).json();
    let hosts = first.replace("redis://", "") + "," + &second.replace("redis://", "");
    assert_eq!(settings["store"], format!("redis+cluster://{hosts}/0"));

    // A class is known by its bases, whatever its name.
    std::fs::rename(project.path().join("mysite/cluster.py"), project.path().join("mysite/redis.py"))
        .unwrap();
    let path = project.path().join("mysite/settings.py");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut renamed = text.replace("mysite.cluster.RedisCluster", "mysite.redis.Shared");
    renamed.push('\n');
    std::fs::write(&path, renamed).unwrap();
    let class = project.path().join("mysite/redis.py");
    let text = std::fs::read_to_string(&class).unwrap();
    std::fs::write(&class, text.replace("class RedisCluster", "class Shared")).unwrap();
    project.manage(&["shell", "-c", code]);
    assert_eq!(ask(&["count"]).stdout, "40 live, 0 expired\n");

    // One that tells nothing is refused by its name.
    let class = project.path().join("mysite/redis.py");
    std::fs::write(
        &class,
        "class Shared:\n    def __init__(self, connection_pool, **kwargs):\n        pass\n",
    )
    .unwrap();
    let ran = ask(&["count"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("mysite.redis.Shared"), "{ran:?}");
}
