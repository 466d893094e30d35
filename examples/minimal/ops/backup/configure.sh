#!/bin/sh
# Writes pgBackRest's configuration from the BACKUP_* variables; each container runs it at its start.
set -eu

file=${1:-/etc/pgbackrest/pgbackrest.conf}
umask 027
{
    echo "[global]"
    echo "compress-type=zst"
    echo "start-fast=y"
    echo "log-level-file=off"
    echo "log-level-console=warn"
    echo "repo1-retention-full-type=time"
    echo "repo1-retention-full=${BACKUP_RETENTION_DAYS:-7}"
    echo "repo1-bundle=y"
    echo "repo1-block=y"
    # In a bucket, the same path is the prefix.
    echo "repo1-path=/var/lib/pgbackrest"
    if [ -n "${BACKUP_S3_BUCKET:-}" ]; then
        echo "repo1-type=s3"
        echo "repo1-s3-bucket=$BACKUP_S3_BUCKET"
        echo "repo1-s3-endpoint=$BACKUP_S3_ENDPOINT"
        echo "repo1-s3-region=${BACKUP_S3_REGION:-us-east-1}"
        echo "repo1-s3-uri-style=${BACKUP_S3_URI_STYLE:-host}"
        echo "repo1-s3-key=$BACKUP_S3_KEY"
        echo "repo1-s3-key-secret=$BACKUP_S3_KEY_SECRET"
        if [ -n "${BACKUP_S3_CA_FILE:-}" ]; then
            echo "repo1-storage-ca-file=$BACKUP_S3_CA_FILE"
        fi
    fi
    if [ -n "${BACKUP_ENCRYPTION_SECRET:-}" ]; then
        echo "repo1-cipher-type=aes-256-cbc"
        echo "repo1-cipher-pass=$BACKUP_ENCRYPTION_SECRET"
    fi
    echo "[$PGBACKREST_STANZA]"
    echo "pg1-path=$PGDATA"
    echo "pg1-socket-path=/var/run/postgresql"
} > "$file"
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$file"
fi
