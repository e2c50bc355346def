#!/usr/bin/env bash
# Makes ./secrets, which compose.yaml mounts: an authority, a certificate, passwords. Needs openssl 3.
set -euo pipefail
umask 077

if [ -e secrets ]; then
    echo "secrets/ is there already: remove it to make new ones" >&2
    exit 1
fi
mkdir secrets
cd secrets

# The extensions are what Python 3.13 and newer insist on.
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc)
openssl req -x509 "${key[@]}" -days 3650 -subj "/CN=tidegate authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt
openssl req "${key[@]}" -subj "/CN=tidegate" -keyout server.key -out server.csr
printf '%s\n' "subjectAltName=DNS:broker,DNS:cloud,DNS:localhost" "authorityKeyIdentifier=keyid" >server.ext
openssl x509 -req -in server.csr -extfile server.ext -CA ca.crt -CAkey ca.key -days 825 -out server.crt
openssl req "${key[@]}" -subj "/CN=lab" -keyout node.key -out node.csr
printf '%s\n' "subjectAltName=URI:urn:tidegate:lab/node-1" "extendedKeyUsage=clientAuth" \
    "authorityKeyIdentifier=keyid" >node.ext
openssl x509 -req -in node.csr -extfile node.ext -CA ca.crt -CAkey ca.key -days 825 -out node.crt
rm server.csr server.ext node.csr node.ext

# A line of a password file, as `mosquitto_passwd` makes it: few machines with containers have that.
entry() {
    local user=$1 password=$2 salt hash
    salt=$(openssl rand -base64 12)
    hash=$(openssl kdf -binary -keylen 64 -kdfopt digest:SHA512 -kdfopt "pass:$password" \
        -kdfopt "hexsalt:$(base64 -d <<<"$salt" | od -An -tx1 | tr -d ' ')" -kdfopt iter:101 PBKDF2 |
        base64 --wrap 0)
    echo "$user:\$7\$101\$$salt\$$hash"
}

openssl rand -hex 16 >mqtt-password
openssl rand -hex 16 >sink-password
openssl rand -hex 16 >watch-password
openssl rand -hex 16 >fleet-password
entry lab/node-1 "$(<mqtt-password)" >passwd
entry sink "$(<sink-password)" >>passwd
entry watch "$(<watch-password)" >>passwd
entry fleet "$(<fleet-password)" >>passwd

# Containers read these as users of their own; the folder keeps everyone else on this machine out.
chmod 644 ca.crt server.crt server.key node.crt node.key mqtt-password sink-password watch-password passwd
