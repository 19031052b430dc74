#!/bin/bash
# Stand-in of Microsoft's downloader script, with the faults that the original was measured to have. Only for tests.
#
# Put it into a folder as xplat_offline_updates_download.sh, with settings.json beside it. DEFINITION_SERVICE names the
# service, such as https://127.0.0.1:8443/fwlink/ (the original knows one service only). SCRIPT_EDITION=1.2 makes it
# behave as the edition of 2026 instead of that of 2024; see the last paragraph.
#
# Faults that are there on purpose: it ends with status 0 when a download fails, and leaves out all that would have come
# after it; it saves whatever a server answers as a package; it asks for the versions after the package; it believes its
# own manifests and never looks at a package; it has no lock, no time limits and no second try; it writes temp.txt into
# the current directory, half-done files into the served tree, and manifests in place; without jq, curl or settings it
# says so and ends with status 0.
#
# The edition of 2026 ends where an unset variable is named. It asks for versions by way of a file in TMPDIR. Where that
# question fails it ends with status 1, because its handler misses arguments. A trap that removes that file outlives the
# function that set it: after the first platform for which there was a manifest, it names a variable that is gone, so
# the script ends with status 1 and the next platform is never tried.

edition="${SCRIPT_EDITION:-0.0.2}"
asked=
: "${HOME:?is not set, and newer versions of the original do without it no more than this one}"
service="${DEFINITION_SERVICE:?must name the address of the service}"
here="$(dirname "$0")"

say() {
    echo "$1"
    printf '%s\n%s\n----------\n' "$(date)" "$1" >> "$log"
}

fail() {
    # The status that is meant was lost by the test that led here.
    echo "Error (0): $1"
    rm -f "$2" "$3"
    exit 0
}

setting() {
    local value
    value="$(jq -r ".$1" "$here/settings.json" 2> /dev/null)"
    if [ "$value" = null ]; then echo "$2"; else echo "$value"; fi
}

engine_in() {
    sed -n 's:.*<engine>\(.*\)</engine>.*:\1:p' "$1"
}

definitions_in() {
    sed -n 's:.*<signatures date="[^"]*">\(.*\)</signatures>.*:\1:p' "$1"
}

# Whether the manifest names what the service offers; the package beside it is not looked at.
up_to_date() {
    local scratch=temp.txt
    if [ "$edition" = 1.2 ]; then scratch="$(mktemp -t mdatp_manifest.XXXXXX)"; fi
    if ! curl -L -o "$scratch" "$2"; then
        if [ "$edition" = 1.2 ]; then dies 'an argument: unbound variable'; fi
        fail "no versions from $2"
    fi
    asked=yes
    sync
    [ "$(jq -r .EngineVersion "$1")" = "$(engine_in "$scratch")" ] \
        && [ "$(jq -r .DefinitionVersion "$1")" = "$(definitions_in "$scratch")" ]
}

dies() {
    echo "$0: $1" >&2
    exit 1
}

back_up() {
    mkdir -p "$2"
    if [ -f "$1/updates.zip" ] && [ -f "$1/manifest.json" ]; then
        cp "$1/updates.zip" "$1/manifest.json" "$2"
    fi
}

download() {
    local platform="$1" ring="$2" arch="$3" address folder
    folder="$downloads/$platform/$ring/arch_$arch"
    if [ "$platform" = linux ]; then address="$service?linkid=2144709"; else address="$service?linkid=2120136"; fi
    if [ "$arch" = arm64 ]; then address="$address&arch=arm64"; fi
    if [ "$ring" = preview ]; then address="$address&engRing=3&sigRing=1"; fi
    mkdir -p "$folder"

    if [ -f "$folder/manifest.json" ] && up_to_date "$folder/manifest.json" "$address&action=info"; then
        echo "No new update available"
        return
    fi
    if [ "$backup" = true ]; then
        back_up "$folder" "$downloads/$platform/${ring}_back/arch_$arch"
    fi

    echo "Downloading $address"
    curl -L -o "$folder/updates.zip_temp" "$address" \
        || fail "no package from $address" "$folder/updates.zip_temp" "$folder/manifest.xml"
    curl -L -o "$folder/manifest.xml" "$address&action=info" \
        || fail "no versions from $address" "$folder/updates.zip_temp" "$folder/manifest.xml"
    mv "$folder/updates.zip_temp" "$folder/updates.zip"

    say "Engine version: $(engine_in "$folder/manifest.xml")"
    say "Definition version: $(definitions_in "$folder/manifest.xml")"
    jq -n --arg engine "$(engine_in "$folder/manifest.xml")" \
        --arg definitions "$(definitions_in "$folder/manifest.xml")" \
        '{EngineVersion: $engine, DefinitionVersion: $definitions}' > "$folder/manifest.json"
    rm -f "$folder/manifest.xml"
}

for program in jq curl; do
    if ! command -v "$program" > /dev/null; then
        echo "$program is not installed. Please install it."
        exit 0
    fi
done
if ! [ -f "$here/settings.json" ]; then
    echo "There is no settings.json beside the script."
    exit 0
fi

downloads="$(setting downloadFolder "$HOME/wdav-update")"
log="$(setting logFilePath /tmp/mdatp_offline_updates.log)"
backup="$(setting backupPreviousUpdates false)"
rings=(production)
if [ "$(setting downloadPreviewUpdates false)" = true ]; then rings+=(preview); fi

touch "$log"
say "Script started."
for platform in linux mac; do
    if [ "$(setting "download${platform^}Updates" false)" = true ]; then
        for ring in "${rings[@]}"; do
            for arch in x86_64 arm64; do
                download "$platform" "$ring" "$arch"
            done
        done
        if [ "$edition$asked" = 1.2yes ]; then dies 'tempFile: unbound variable'; fi
    fi
done
say "Script completed."
