#!/usr/bin/env bash
# A simple mirror with curl and one request after another; tests/benchmark/sync.py compares mde-mirror with it.
# usage: one_at_a_time.sh SERVICE FOLDER CA-FILE
set -euo pipefail

service=$1 folder=$2 ca=$3

ask() {
    curl --silent --show-error --fail --location --cacert "$ca" "$@"
}

# Prints a manifest with the versions that a URL offers now.
offered() {
    local answer engine definitions
    answer=$(ask "$1&action=info")
    engine=$(sed -n 's:.*<engine>\(.*\)</engine>.*:\1:p' <<<"$answer")
    definitions=$(sed -n 's:.*<signatures[^>]*>\(.*\)</signatures>.*:\1:p' <<<"$answer")
    printf '{"EngineVersion": "%s", "DefinitionVersion": "%s"}\n' "$engine" "$definitions"
}

fetch() {
    local address=$1 place=$2 back=$3 before after
    before=$(offered "$address")
    if [[ -f $place/manifest.json && $(<"$place/manifest.json") == "$before" ]]; then
        return
    fi
    mkdir -p "$place"
    ask --output "$place/updates.zip.part" "$address"
    after=$(offered "$address")
    if [[ $before != "$after" ]]; then
        echo "$place: a new release was published during the download" >&2
        return 1
    fi
    if [[ -f $place/updates.zip ]]; then
        mkdir -p "$back"
        cp "$place/updates.zip" "$place/manifest.json" "$back/"
    fi
    mv "$place/updates.zip.part" "$place/updates.zip"
    echo "$after" >"$place/manifest.json"
}

for platform in linux:2144709 mac:2120136; do
    for ring in production: 'preview:&engRing=3&sigRing=1'; do
        for arch in x86_64: 'arm64:&arch=arm64'; do
            path="$folder/${platform%%:*}/${ring%%:*}"
            fetch "$service?linkid=${platform#*:}${arch#*:}${ring#*:}" \
                "$path/arch_${arch%%:*}" "${path}_back/arch_${arch%%:*}"
        done
    done
done
