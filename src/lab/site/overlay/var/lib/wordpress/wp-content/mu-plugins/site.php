<?php
// What a shop behind a load generator needs: comments are taken at once and as often as they come,
// and no mail leaves.
add_filter('comment_flood_filter', '__return_false');
add_filter('wp_is_comment_flood', '__return_false');
add_filter('pre_comment_approved', fn () => 1);
add_filter('pre_wp_mail', '__return_true');
add_filter('pre_http_request', fn () => new WP_Error('offline', 'The site fetches nothing.'));
