#!/usr/bin/env bash
# Installs a packed tarball into an empty folder and uses it as a stranger would.
set -euo pipefail
tarball=$1 folder=$2
mkdir -p "$folder" && cd "$folder"
printf '{ "name": "consumer", "private": true, "type": "module" }\n' > package.json
npm install --silent --no-audit --no-fund "$tarball"
cat > use.mjs <<'JS'
import { createGateway, protect, protectFetch } from 'sallyport';
import { CertificateAuthority } from 'sallyport/ca';
import { createIdentityFetch } from 'sallyport/bridge';
for (const one of [createGateway, protect, protectFetch, CertificateAuthority, createIdentityFetch]) {
  if (typeof one !== 'function') throw new Error('an export is missing');
}
JS
node use.mjs
npx --no-install sallyport --version
npx --no-install sallyport init --dir port --name Acme --trust-domain acme.internal --host localhost --json > init.json
npx --no-install sallyport issue agent-7 --ou analytics --dir port --out agent-7 --json > issue.json
node -e 'const issued = JSON.parse(require("fs").readFileSync("issue.json", "utf8")); if (!issued.serial) throw new Error("no serial")'
npx --no-install sallyport inventory --dir port
npx --no-install sallyport revoke agent-7 --reason keyCompromise --dir port
npx --no-install sallyport audit verify --dir port
