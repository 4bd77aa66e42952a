<?php
// The site answers at whatever address it is asked, sends nothing and fetches nothing.
define('DB_NAME', 'wordpress');
define('DB_USER', 'www-data'); // by the credentials of the Unix socket
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:/run/mysqld/mysqld.sock');
define('DB_CHARSET', 'utf8mb4');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? 'localhost'));
define('WP_SITEURL', WP_HOME);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('DISALLOW_FILE_MODS', true);
// Of one laboratory, the same everywhere: it guards nothing.
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {
    define($name . '_KEY', 'ferry-site-' . $name . '-key');
    define($name . '_SALT', 'ferry-site-' . $name . '-salt');
}
