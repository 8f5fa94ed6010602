#!/usr/bin/env bash
# Fetches packages of a Debian release by apt and unpacks them into DIR, which is made anew: debian.sh SUITE DIR PACKAGE...
# SUITE is a name such as bullseye, or `-` for the release of this machine. It needs Debian on x86_64, no rights, and leaves the
# system's own packages and lists alone.
set -euo pipefail

fail() {
    echo "$1" >&2
    exit 1
}

[ $# -ge 3 ] || fail "usage: debian.sh SUITE DIR PACKAGE..."
suite=$1 dir=$2
shift 2
for tool in apt-get apt-config dpkg; do
    command -v $tool >/dev/null || fail "there is no $tool"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this is not x86_64"
# shellcheck disable=SC1091
codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || fail "this is not Debian"
[ "$suite" != - ] || suite=$codename
site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $codename" 'Component: main' | head -1)
[ -n "$site" ] || fail "apt knows no source of Debian $codename main to take the site of the packages from"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || fail "$keys is missing; apt install debian-archive-keyring"

rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# apt's own configuration (proxies, passwords) with another list of sources, and none of its hooks
mkdir -p apt/none apt/preferences.d apt/lists/partial apt/cache/archives/partial debs
touch apt/status
echo "deb [arch=amd64 signed-by=$keys] $site $suite main" >apt/sources.list
{
    apt-config dump | grep -Ev '^(Dir|APT::Update|DPkg|Binary|APT::Sandbox)' || true
    cat <<CONF
Dir::Etc::main "$PWD/apt/none.conf";
Dir::Etc::parts "$PWD/apt/none";
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "$PWD/apt/none";
Dir::Etc::preferences "$PWD/apt/none.pref";
Dir::Etc::preferencesparts "$PWD/apt/preferences.d";
Dir::State "$PWD/apt";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt/cache";
APT::Sandbox::User "root";
CONF
} >apt/apt.conf
export APT_CONFIG=$PWD/apt/apt.conf
# Signatures and digests are checked by apt.
apt-get -qq update >log 2>&1 || fail "apt can't read $suite from the site of $codename: $(tail -2 log | tr '\n' ' ')"
(cd debs && apt-get -qq download "$@") >log 2>&1 || fail "apt can't fetch the packages: $(tail -2 log | tr '\n' ' ')"
for package in debs/*.deb; do
    dpkg -x "$package" "$dir" >log 2>&1 || fail "$package can't be unpacked: $(tail -1 log)"
done
rm -rf "$dir/usr/share/doc"
