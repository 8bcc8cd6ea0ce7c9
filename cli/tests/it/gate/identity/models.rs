//! The user models of real projects: those that the gate can read, and those that it refuses by name.

use std::path::{Path, PathBuf};

use super::{Gate, people};
use crate::support::command::{Ran, cloakroom, run};
use crate::support::project::{Project, python};

/// Each Django that scripts/test could install.
fn pythons() -> Vec<PathBuf> {
    let usual = python();
    let of = |name: &str| PathBuf::from(usual.to_str().unwrap().replace("/.venv/", &format!("/{name}/")));
    let all = [".venv-4.2", ".venv", ".venv-6.0", ".venv-6.1"].map(of);
    all.into_iter().filter(|python| python.exists()).collect()
}

/// A project whose app `people` has these models.
fn project(python: &Path, models: &str, settings: &str) -> Project {
    let project = Project::unmigrated(
        python.to_owned(),
        &format!("INSTALLED_APPS += ['people']\nAUTH_USER_MODEL = 'people.Person'\n{settings}"),
    );
    let app = project.path().join("people");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("__init__.py"), "").unwrap();
    let imports = "from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager\n\
                   from django.contrib.auth.models import AbstractUser, PermissionsMixin, UserManager\n\
                   from django.db import models\nimport uuid\n";
    std::fs::write(app.join("models.py"), format!("{imports}{models}")).unwrap();
    std::fs::write(app.join("backends.py"), BACKENDS).unwrap();
    project
}

const BACKENDS: &str = "
from django.contrib.auth.backends import ModelBackend
class Tokens(ModelBackend):
    def authenticate(self, request, token=None):
        return None
class Directory(ModelBackend):
    def get_user(self, user_id):
        return None
";

/// Names are e-mail addresses, keys are UUIDs, and the user model is a proxy of the table's.
const MEMBERS: &str = "
class Manager(BaseUserManager):
    pass
class Member(AbstractBaseUser, PermissionsMixin):
    number = models.UUIDField(primary_key=True, default=uuid.uuid4, db_column='no')
    address = models.EmailField(unique=True, db_column='mail')
    is_staff = models.BooleanField(default=False)
    objects = Manager()
    USERNAME_FIELD = 'address'
    EMAIL_FIELD = 'address'
class Person(Member):
    class Meta:
        proxy = True
class Router:
    def db_for_read(self, model, **hints):
        return 'people' if model._meta.app_label in ('people', 'auth', 'contenttypes') else None
    db_for_write = db_for_read
    def allow_relation(self, *objects, **hints):
        return True
";

const MEMBER: &str = "
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.test import Client
user = get_user_model()(address='zoë@example.com', is_staff=True)
user.set_password('secret')
user.save()
group = Group.objects.create(name='members')
group.permissions.set(Permission.objects.filter(codename='view_member'))
user.groups.add(group)
user.user_permissions.set(Permission.objects.filter(codename='view_member'))
client = Client()
client.force_login(user, 'people.backends.Tokens')
print('key', user.pk, client.cookies['sessionid'].value)
";

#[test]
fn each_django_has_its_own_users_and_such_of_a_project() {
    for python in pythons() {
        let usual = Project::unmigrated(python.clone(), "");
        usual.manage(&["migrate", "--verbosity", "0"]);
        let keys = people(&usual);
        let gate = Gate::start(&usual, "");
        let (status, said) = gate.ask("/", &format!("sessionid={}", keys["ada"]));
        assert_eq!(
            (status, &*said),
            (200, "1 ada ada@example.com %C3%89diteurs%2C chief false"),
            "{python:?}"
        );

        let settings = "DATABASES['people'] = {**DATABASES['default'], 'NAME': BASE_DIR / 'people.sqlite3'}\n\
             DATABASE_ROUTERS = ['people.models.Router']\nLOGIN_URL = 'admin:login'\n\
             AUTHENTICATION_BACKENDS = ['people.backends.Tokens', 'people.backends.Directory']";
        let own = project(&python, MEMBERS, settings);
        own.manage(&["makemigrations", "people", "--verbosity", "0"]);
        for database in ["default", "people"] {
            own.manage(&["migrate", "--verbosity", "0", "--database", database]);
        }
        let printed = own.manage(&["shell", "-c", MEMBER]);
        let key = printed.lines().find_map(|line| line.strip_prefix("key ")).unwrap();
        let (id, key) = key.split_once(' ').unwrap();
        let gate = Gate::start(&own, "");
        let (status, said) = gate.ask("/view", &format!("sessionid={key}"));
        let address = "zo%C3%AB@example.com";
        assert_eq!((status, said), (200, format!("{id} {address} {address} members true")), "{python:?}");
        assert_eq!(gate.location(), "/admin/login/?next=/page%3Fa%3D1");
    }
}

fn check(project: &Project) -> Ran {
    let config = project.path().join("gate.toml");
    std::fs::write(&config, "[[rule]]\nhost = 'wiki.example.com'\nallow = 'login'\n").unwrap();
    let arguments =
        ["gate", "--check", "--config", config.to_str().unwrap(), "--from-django", &project.manage_py()];
    run(cloakroom(&arguments), b"")
}

#[test]
fn a_model_that_only_django_can_read_is_refused_by_name() {
    let person = |body: &str| format!("class Person(AbstractUser):\n    {body}\n");
    for (models, settings, named) in [
        (person("def get_session_auth_hash(self): return 'x'"), "", "people.Person has a `get_session_auth_hash` of its own"),
        (
            person("is_active = property(lambda self: self.last_login is not None)"),
            "",
            "people.Person has no boolean column `is_active`",
        ),
        (
            "class Account(AbstractUser):\n    pass\nclass Person(Account):\n    shoe_size = models.IntegerField()\n".to_owned(),
            "",
            "people.Person inherits from another model with a table of its own (multi-table inheritance)",
        ),
        (
            "class Living(UserManager):\n    def get_queryset(self):\n        \
             return super().get_queryset().filter(last_name='x')\n"
                .to_owned()
                + &person("objects = Living()"),
            "",
            "the default manager of the user model people.Person leaves out some",
        ),
        (
            person("pass"),
            "AUTHENTICATION_BACKENDS = ['django.contrib.auth.backends.AllowAllUsersModelBackend']",
            "none of the project's AUTHENTICATION_BACKENDS",
        ),
        (
            person("pass"),
            "INSTALLED_APPS = ['django.contrib.sessions', 'django.contrib.contenttypes']",
            "`django.contrib.auth` is not in INSTALLED_APPS",
        ),
    ] {
        let project = project(&python(), &models, settings);
        let ran = check(&project);
        assert!(ran.code == 2 && ran.stderr.contains(named), "{named}: {ran:?}");
        // Other commands need no users.
        let settings = run(cloakroom(&["settings", "--json", "--from-django", &project.manage_py()]), b"");
        assert_eq!(settings.code, 0, "{settings:?}");
    }
}

#[test]
fn logins_and_flags_that_cannot_be_read_are_noted_and_count_for_nothing() {
    let models =
        "class Person(AbstractUser):\n    is_staff = property(lambda self: True)\n    groups = None\n";
    let settings = "AUTHENTICATION_BACKENDS = ['people.backends.Tokens', 'people.backends.Directory']";
    let ran = check(&project(&python(), models, settings));
    assert_eq!(ran.code, 0, "{ran:?}");
    for noted in [
        "logins by the authentication back end people.backends.Directory count as nobody: its own `get_user`",
        "people.Person has no boolean column `is_staff`, so that nobody counts as `is_staff`",
        "people.Person keeps groups and permissions in its own way",
    ] {
        assert!(ran.stderr.contains(noted), "{noted}: {ran:?}");
    }
    assert!(!ran.stderr.contains("Tokens"), "it only finds other ways to log in: {ran:?}");
}
