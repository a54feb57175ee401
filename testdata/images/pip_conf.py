#!/usr/bin/env python3
"""Print this machine's pip settings as a pip.conf that a build can mount.

Reads the files pip reads and its PIP_* variables, and keeps only what says how to
reach an index; the certificate bundle is named by the place where a build mounts it.
"""

import configparser
import os
import re
import sys

KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CERTIFICATES = "/run/secrets/ca-certificates.crt"


def machine_settings():
    home = os.path.expanduser("~")
    files = [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        f"{home}/.pip/pip.conf",
        f"{home}/.config/pip/pip.conf",
        f"{sys.prefix}/pip.conf",
        os.environ.get("PIP_CONFIG_FILE", ""),
    ]
    parsed = configparser.RawConfigParser()
    parsed.read([name for name in files if name and os.path.isfile(name)])
    settings = {}
    for section in ("global", "install"):
        if parsed.has_section(section):
            settings.update(parsed.items(section))
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            settings[name[4:].lower().replace("_", "-").removeprefix("default-")] = value
    return settings


def main():
    settings = machine_settings()
    print("[global]")
    for key in KEPT:
        if settings.get(key):
            value = re.sub(r"\s*\n\s*", "\n    ", settings[key].strip())
            print(f"{key} = {value}")
    print(f"cert = {CERTIFICATES}")
    print("disable-pip-version-check = true")
    print("root-user-action = ignore")


if __name__ == "__main__":
    main()
