# Makes this machine an endpoint that updates from the mirror. The commands of a row of the table run after this file.
# shellcheck shell=sh
mirror=http://rig-web/linux/production/

point() { # point ADDRESS: set the mirror in the managed configuration
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

follow() { # follow ADDRESS: set the mirror, and report it as the source of the definitions
    point "$1"
    mdatp-sim set "definitions_update_source_uri=$1" >/dev/null
}

break_it() { mdatp-sim break "$@" >/dev/null; }

unit() { # unit COMMAND: create the systemd service of the agent
    printf '[Unit]\nDescription=Stand-in\n[Service]\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' "$1" \
        >/etc/systemd/system/mdatp.service
    systemctl daemon-reload
}

fingerprint() { # of all files, except those that the agent itself writes when it is called
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
