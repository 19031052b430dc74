# Makes this machine an endpoint that updates from the mirror; what a row of the table does to it is read after this.
# shellcheck shell=sh
mirror=http://rig-web/linux/production/

point() { # point ADDRESS: the managed configuration names this mirror
    cat >mdatp_managed.json <<END
{
  "antivirusEngine": {
    "enforcementLevel": "real_time",
    "offlineDefinitionUpdate": "enabled",
    "offlineDefinitionUpdateUrl": "$1",
    "offlineDefinitionUpdateFallbackToCloud": false
  },
  "cloudService": {"automaticDefinitionUpdateEnabled": true}
}
END
}

follow() { # follow ADDRESS: and the definitions came from there
    point "$1"
    mdatp-sim set "definitions_update_source_uri=$1" >/dev/null
}

break_it() { mdatp-sim break "$@" >/dev/null; }

unit() { # unit COMMAND: the agent's service of systemd
    printf '[Unit]\nDescription=Stand-in\n[Service]\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' "$1" \
        >/etc/systemd/system/mdatp.service
    systemctl daemon-reload
}

fingerprint() { # of all files, but for what the agent itself writes when it is asked
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
        -o -path "$HOME/.ansible" -o -path /var/lib/systemd \) -prune -o ! -type d -printf '%p %s %T@ %m %U\n' | sort | sha256sum
}

if [ "${1-}" != fingerprint ]; then
    python3 /opt/rig/mdatp.py install --root / --arch "$(uname -m | sed s/aarch64/arm64/)" >/dev/null
    mdatp-sim repair >/dev/null
    cd /etc/opt/microsoft/mdatp/managed || exit
    point "$mirror"
    timeout 60 mdatp definitions update >/dev/null
else
    fingerprint
fi
