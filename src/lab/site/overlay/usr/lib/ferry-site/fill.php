<?php
// Installs WordPress and fills it with users, images, posts and comments, the same ones every time.
const USERS = 20;
const IMAGES = 24;
const POSTS = 60;

define('WP_INSTALLING', true);
define('WP_DISABLE_FATAL_ERROR_HANDLER', true);
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
require_once '/usr/share/wordpress/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
require_once ABSPATH . 'wp-admin/includes/image.php';

mt_srand(2021);

function must($result)
{
    if (is_wp_error($result) || !$result) {
        fwrite(STDERR, 'E: WordPress: ' . (is_wp_error($result) ? $result->get_error_message() : 'failed') . "\n");
        exit(1);
    }
    return $result;
}

function words(int $count): string
{
    static $list = ['ferry', 'harbour', 'tide', 'rope', 'lantern', 'cargo', 'deck', 'quay', 'current', 'signal',
        'anchor', 'crossing', 'wave', 'mast', 'channel', 'pilot', 'buoy', 'ledger', 'shore', 'wind'];
    $words = [];
    for ($i = 0; $i < $count; $i++) {
        $words[] = $list[mt_rand(0, count($list) - 1)];
    }
    return ucfirst(implode(' ', $words));
}

// A picture with enough detail that JPEG cannot make it tiny.
function picture(int $number): int
{
    $image = imagecreatetruecolor(1024, 683);
    for ($i = 0; $i < 900; $i++) {
        $colour = imagecolorallocatealpha($image, mt_rand(0, 255), mt_rand(0, 255), mt_rand(0, 255), 60);
        imagefilledellipse($image, mt_rand(0, 1024), mt_rand(0, 683), mt_rand(4, 160), mt_rand(4, 160), $colour);
    }
    $name = sprintf('product-%02d.jpg', $number);
    $path = wp_upload_dir('2021/04')['path'] . '/' . $name;
    imagejpeg($image, $path, 80);
    $id = must(wp_insert_attachment(
        ['post_mime_type' => 'image/jpeg', 'post_title' => "Product $number", 'post_status' => 'inherit'],
        $path
    ));
    wp_update_attachment_metadata($id, wp_generate_attachment_metadata($id, $path));
    return $id;
}

wp_install('Ferry Stores', 'owner', 'owner@example.org', true, '', 'owner-secret');
switch_theme('twentytwentyone');
foreach ([
    'default_comment_status' => 'open', 'default_ping_status' => 'closed', 'comment_moderation' => 0,
    'comment_previously_approved' => 0, 'comments_notify' => 0, 'moderation_notify' => 0,
    'close_comments_for_old_posts' => 0, 'require_name_email' => 1, 'comment_registration' => 0,
    'comments_per_page' => 20, 'page_comments' => 1, 'default_comments_page' => 'oldest',
    'comment_order' => 'asc', 'posts_per_page' => 8,
] as $name => $value) {
    update_option($name, $value);
}

for ($i = 1; $i <= USERS; $i++) {
    must(wp_insert_user(['user_login' => "reader$i", 'user_pass' => "reader$i-secret",
        'user_email' => "reader$i@example.org", 'display_name' => "Reader $i", 'role' => 'subscriber']));
}
$pictures = [];
for ($i = 1; $i <= IMAGES; $i++) {
    $pictures[] = picture($i);
}
for ($i = 1; $i <= POSTS; $i++) {
    $picture = $pictures[$i % IMAGES];
    $text = '<p>' . wp_get_attachment_image($picture, 'large') . '</p>';
    for ($p = 0; $p < 5; $p++) {
        $text .= '<p>' . words(mt_rand(40, 90)) . '.</p>';
    }
    // The address in links is the one that the page is asked by: none may be stored.
    $text = str_replace(WP_HOME, '', $text);
    $id = must(wp_insert_post(['post_title' => words(4), 'post_content' => $text, 'post_status' => 'publish',
        'post_author' => 1, 'post_date' => date('Y-m-d H:i:s', 1617235200 + $i * 3600),
        'comment_status' => 'open', 'import_id' => 1000 + $i]));
    set_post_thumbnail($id, $picture);
    for ($c = 0; $c < 3; $c++) {
        must(wp_insert_comment(['comment_post_ID' => $id, 'comment_author' => 'Reader', 'comment_content' => words(20),
            'comment_author_email' => 'reader@example.org', 'comment_approved' => 1]));
    }
}
wp_update_comment_count_now(1);
