#!/bin/sh
# Make the secrets of a tracking server in the folder `secrets` beside this file, and what else compose.yaml needs: the
# folder `data` for artifacts, and `.env`, which says whose it is. What is there stays as it is.
# Usage: infra/mlflow/secrets.sh [HOST], the address of PostgreSQL as the server sees it (default: postgres, of compose.yaml)
set -eu
umask 077
here=$(dirname "$0")
folder=${MLFLOW_SECRETS:-$here/secrets}
mkdir -p "$folder"
chmod 700 "$folder" # nobody else gets to the files, which containers read as users of their own

random() {
    od -An -v -tx1 -N 24 /dev/urandom | tr -d ' \n'
}
keep() {
    if ! [ -s "$folder/$1" ]; then
        cat >"$folder/$1"
        chmod 644 "$folder/$1"
    fi
}

random | keep admin_password
random | keep session_key
random | keep postgres_password
printf 'postgresql+psycopg://mlflow:%s@%s:5432/mlflow' "$(cat "$folder/postgres_password")" "${1:-postgres}" | keep database_uri
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(random)" "$(random)" | keep s3_credentials
# The same key, as the S3 server of compose.yaml reads it.
awk -F ' = ' '
    /^aws_access_key_id/ { id = $2 }
    /^aws_secret_access_key/ { key = $2 }
    END {
        printf "{\"identities\": [{\"name\": \"mlflow\", \"credentials\": [{\"accessKey\": \"%s\", \"secretKey\": \"%s\"}],", id, key
        printf " \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"]}]}\n"
    }' "$folder/s3_credentials" | keep s3_identities.json

if [ "$folder" = "$here/secrets" ] && ! [ -e "$here/.env" ]; then
    mkdir -p "$here/data"
    user=$(id -u):$(id -g)
    if [ "$user" = 0:0 ]; then # no container runs as root, whoever starts it
        user=1000:1000
        chown "$user" "$here/data"
    fi
    echo "MLFLOW_USER=$user" >"$here/.env"
fi
echo "$folder is ready. The account: admin, with the password in $folder/admin_password"
