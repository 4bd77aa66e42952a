#!/bin/sh
# Run once, in the new root, when its packages are installed: makes the database and lets WordPress
# fill it. Leaves no process behind and the database cleanly closed.
set -eu

# What the package mariadb-server would do; its core alone is installed, which is a tenth in size.
echo 'mysql:x:110:' >> /etc/group
echo 'mysql:x:110:110::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
install -d -o mysql -g mysql /var/lib/mysql /run/mysqld
install -o mysql -g mysql -m 640 /dev/null /var/log/mysql.log
mariadb-install-db --defaults-file=/etc/mysql/site.cnf --skip-test-db --skip-name-resolve \
    --auth-root-authentication-method=socket > /dev/null

# Nothing has to be safe on the disk before the end.
mariadbd --defaults-file=/etc/mysql/site.cnf --innodb-flush-log-at-trx-commit=0 2> /dev/null &
database=$!
trap 'kill -KILL $database 2> /dev/null || true' EXIT
query() { mariadb --defaults-file=/etc/mysql/site.cnf "$@"; }
tries=0
until query -e 'select 1' > /dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ]; then
        echo "E: the database does not start: $(tail -n 1 /var/log/mysql.log)" >&2
        exit 1
    fi
    sleep 0.1
done
query -e "create database wordpress character set utf8mb4;
    create user 'www-data'@localhost identified via unix_socket;
    grant all on wordpress.* to 'www-data'@localhost;"
chown -R www-data:www-data /var/lib/wordpress
setpriv --reuid www-data --regid www-data --clear-groups \
    php -d display_errors=stderr -d html_errors=0 /usr/lib/ferry-site/fill.php
kill -TERM $database
wait $database
trap - EXIT

rm -rf /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/*.log \
    /usr/lib/ferry-site/fill.sh /usr/lib/ferry-site/fill.php /run/mysqld
install -o mysql -g mysql -m 640 /dev/null /var/log/mysql.log
