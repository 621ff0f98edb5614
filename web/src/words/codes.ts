// Which sentence says which of the service's error codes.

import type { Failures } from './languages/en';

const GROUPS: Partial<Record<keyof Failures, string>> = {
  offline: 'offline',
  unreachable:
    'unreachable shutting_down overloaded store_away identity_provider_unreachable idempotency_unavailable ' +
    'budgets_unavailable',
  lost: 'lost cancelled upstream_broken stream_max_seconds client_gone',
  gone: 'gone thread_kept_elsewhere',
  session: 'no_session invalid_api_key missing_credential invalid_session session_expired token_expired invalid_token',
  forbidden:
    'permission_denied override_not_allowed session_bound_to_thread callers_not_told_apart download_not_allowed ' +
    'knowledge_not_exposed metrics_not_public assistant_is_fixed picture_not_deletable',
  origin: 'origin_not_allowed cors_refused unknown_host',
  busy: 'rate_limit_exceeded too_many_streams upstream_rate_limited upstream_overloaded',
  turn: 'thread_busy conversation_locked conflict idempotency_key_reused',
  wentOn: 'thread_went_on',
  budget: 'budget_exceeded upstream_quota_exhausted',
  tooLong: 'context_length_exceeded string_above_max_length request_too_large thread_too_long too_much_replaced',
  blocked:
    'content_blocked content_filter moderation_blocked invalid_prompt bio_policy cyber_policy ' +
    'misalignment_policy_violation content_policy_violation image_content_policy_violation guard_failed moderation_unavailable',
  model: 'server_error upstream_failed upstream_error internal_error invalid_encrypted_content',
  slow: 'expired upstream_timeout vector_store_timeout',
  setup:
    'upstream_auth_failed upstream_unreachable upstream_model_not_found upstream_route_not_found upstream_refused ' +
    'upstream_object_not_found model_not_found background_refused data_residency_mismatch tool_not_supported',
  notFound: 'not_found unknown_url',
  file:
    'file_not_found file_expired file_type_not_allowed file_not_supported empty_file invalid_filename invalid_image ' +
    'invalid_image_format invalid_image_mode invalid_base64_image image_parse_error unsupported_image_media_type ' +
    'empty_image_file invalid_image_url failed_to_download_image image_file_not_found image_too_small unsupported_file ' +
    'upload_stalled upload_incomplete too_many_files upstream_has_no_files',
  fileTooLarge: 'file_too_large image_too_large image_file_too_large',
  tool: 'tool_output_missing',
  notStored: 'store_not_configured message_metadata_not_stored run_metadata_not_stored',
  approval: 'invalid_approval run_not_waiting run_not_cancellable',
  request:
    'invalid_value invalid_type missing_required_parameter invalid_cursor invalid_json invalid_multipart invalid_encoding ' +
    'unsupported_parameter unsupported_encoding unknown_parameter repeated_header mutually_exclusive_parameters ' +
    'invalid_content_type method_not_allowed range_not_satisfiable thread_is_empty no_question',
};

export const CODES: Record<string, keyof Failures> = Object.fromEntries(
  Object.entries(GROUPS).flatMap(([kind, codes]) => codes.split(' ').map((code) => [code, kind as keyof Failures])),
);
