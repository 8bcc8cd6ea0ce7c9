"""A user model of a project's own: a UUID, an e-mail address as the name, nobody of the staff."""

import uuid

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class Member(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    nickname = models.CharField(max_length=50, null=True)

    USERNAME_FIELD = "email"
    objects = BaseUserManager()
