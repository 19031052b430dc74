"""Short ways to write the parts of a managed configuration in tests."""

from __future__ import annotations

NEW, OLD = "101.26081.0010", "101.98.89"
EPP = {"scopes": ["epp"]}


def av(**keys):
    return {"antivirusEngine": keys}


def cloud(**keys):
    return {"cloudService": keys}


def sensors(**keys):
    return {"features": {"supplementarySensorConfigurations": keys}}


def excl(*entries):
    return {"exclusionSettings": {"exclusions": list(entries)}}


def path(value, **more):
    return excl({"$type": "excludedPath", "path": value, "isDirectory": True, **EPP, **more})


def name(value, **more):
    return excl({"$type": "excludedFileName", "name": value, **EPP, **more})


def ext(value, **more):
    return excl({"$type": "excludedFileExtension", "extension": value, **EPP, **more})


def legacy(*entries):
    return av(exclusions=list(entries))


def proxy(value):
    return cloud(proxy=value)


def mirror(url, **more):
    keys = {"enforcementLevel": "real_time", "offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": url}
    return av(**{**keys, **more})


def merged(*configs):
    result = {}
    for config in configs:
        for section, keys in config.items():
            result[section] = {**result.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return result


def deep(levels):
    value = {}
    for _level in range(levels):
        value = {"a": value}
    return value


GOOD_URL = "https://mirror.example.com/linux/production/"
HTTP_URL = "http://mirror.example.com:8000/linux/production/"
DAILY = {"dailyConfiguration": {"timeOfDay": 120}}
RT = {"enforcementLevel": "real_time"}
