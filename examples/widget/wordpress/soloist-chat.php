<?php
/**
 * Plugin Name: Soloist chat
 * Description: A chat button on every page; the shortcode [soloist_chat] puts the chat inline.
 * Version: 1.0.0
 * Requires PHP: 7.4
 *
 * wp-config.php names the service: define( 'SOLOIST_URL', 'https://chat.example.com' );
 * Where it asks for credentials, also: define( 'SOLOIST_API_KEY', '…' ); visitors never see the key.
 */

defined( 'ABSPATH' ) || exit;

/** Prints the widget's script; with a key it asks this site for sessions. */
function soloist_script() {
	if ( ! defined( 'SOLOIST_URL' ) ) {
		return;
	}
	$token = defined( 'SOLOIST_API_KEY' ) ? admin_url( 'admin-ajax.php?action=soloist_token', 'relative' ) : '';
	printf(
		'<script type="module" src="%s" data-storage-key="soloist-wp-%d"%s></script>',
		esc_url( rtrim( SOLOIST_URL, '/' ) . '/embed.js' ),
		get_current_user_id(),
		$token ? ' data-token-url="' . esc_url( $token ) . '"' : ''
	);
}
add_action( 'wp_footer', 'soloist_script' );

/** The chat inline; the script sees it, and the page has no button. */
function soloist_shortcode() {
	return '<soloist-chat></soloist-chat>';
}
add_shortcode( 'soloist_chat', 'soloist_shortcode' );

/** The service's name for whoever reads the page: the account, or a random cookie that nobody can guess. */
function soloist_user() {
	if ( is_user_logged_in() ) {
		return 'wp-' . get_current_user_id();
	}
	$visitor = isset( $_COOKIE['soloist_visitor'] ) ? sanitize_key( $_COOKIE['soloist_visitor'] ) : '';
	if ( ! wp_is_uuid( $visitor ) ) {
		$visitor = wp_generate_uuid4();
		$options = array( 'expires' => time() + YEAR_IN_SECONDS, 'path' => '/', 'secure' => is_ssl(), 'httponly' => true, 'samesite' => 'Lax' );
		setcookie( 'soloist_visitor', $visitor, $options );
	}
	return 'visitor-' . $visitor;
}

/** Mints a session that only pages of this site may use. */
function soloist_token() {
	$home   = wp_parse_url( home_url() );
	$origin = $home['scheme'] . '://' . $home['host'] . ( isset( $home['port'] ) ? ':' . $home['port'] : '' );
	$answer = wp_remote_post(
		rtrim( SOLOIST_URL, '/' ) . '/api/v1/sessions',
		array(
			'headers' => array( 'authorization' => 'Bearer ' . SOLOIST_API_KEY, 'content-type' => 'application/json' ),
			'body'    => wp_json_encode( array( 'user' => soloist_user(), 'origins' => array( $origin ) ) ),
		)
	);
	if ( is_wp_error( $answer ) ) {
		wp_send_json( array( 'detail' => 'The chat cannot be reached.' ), 502 );
	}
	wp_send_json( json_decode( wp_remote_retrieve_body( $answer ) ), wp_remote_retrieve_response_code( $answer ) );
}
if ( defined( 'SOLOIST_URL' ) && defined( 'SOLOIST_API_KEY' ) ) {
	add_action( 'wp_ajax_soloist_token', 'soloist_token' );
	add_action( 'wp_ajax_nopriv_soloist_token', 'soloist_token' );
}
