#!/bin/sh
# MLflow behind basic authentication. Secrets come from files of one folder, so that none is in a command line or a manifest:
#   database_uri    postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE, for runs and for accounts
#   admin_password  of the account `admin`; read when the database is empty
#   session_key     signs the forms by which accounts are made
#   s3_credentials  a credentials file of AWS; leave it out where the machine has a role
# The environment says the rest: MLFLOW_HOST, MLFLOW_PORT, MLFLOW_ARTIFACTS_DESTINATION, MLFLOW_S3_ENDPOINT_URL, …
set -eu
umask 077
secrets=${MLFLOW_SECRETS:-/run/secrets}

secret() {
    [ -s "$secrets/$1" ] || { echo "serve.sh: the file $secrets/$1 is missing or empty. Make it with secrets.sh." >&2; exit 2; }
    cat "$secrets/$1"
}

MLFLOW_BACKEND_STORE_URI=$(secret database_uri)
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret session_key)
MLFLOW_AUTH_CONFIG_PATH=$(mktemp)
export MLFLOW_BACKEND_STORE_URI MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH
if [ -s "$secrets/s3_credentials" ]; then
    export AWS_SHARED_CREDENTIALS_FILE="$secrets/s3_credentials"
fi

# Everyone with an account reads everything; runs belong to who made them. %: the file's own escape.
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $(printf %s "$MLFLOW_BACKEND_STORE_URI" | sed 's/%/%%/g')
admin_username = admin
INI

export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec python -m mlflow server --app-name basic-auth --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" \
    --workers "${MLFLOW_WORKERS:-2}"
