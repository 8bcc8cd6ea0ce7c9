"""A KEY_FUNCTION, as Django's documentation shows one."""


def make_key(key, key_prefix, version):
    return "|".join(["site", key_prefix, "v%d" % version, key])
