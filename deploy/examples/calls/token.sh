#!/usr/bin/env bash
# token.sh EMAIL: an hour's token for a user, signed with JWT_SECRET. It stands in for the identity provider: what it
# says of the organisation comes from raw_app_meta_data, which users cannot change.
#
#     JWT_SECRET=… DATABASE=postgres://… ./token.sh ann@acme.example
set -euo pipefail

claims=$(psql -X -A -t -v ON_ERROR_STOP=1 -v email="$1" -d "${DATABASE:-calls}" <<'SQL'
SELECT json_build_object('sub', id, 'role', 'authenticated', 'exp', extract(epoch FROM now())::bigint + 3600,
                         'app_metadata', raw_app_meta_data, 'user_metadata', raw_user_meta_data)
FROM auth.users WHERE email = :'email'
SQL
)
[ -n "$claims" ] || { echo "no such user: $1" >&2; exit 1; }

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
body=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf '%s' "$claims" | base64url)
printf '%s.%s\n' "$body" "$(printf '%s' "$body" | openssl dgst -sha256 -hmac "$JWT_SECRET" -binary | base64url)"
