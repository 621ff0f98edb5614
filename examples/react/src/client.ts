// The typed client: every path, parameter and answer comes from the service's OpenAPI document.
// `npm run generate` writes api.d.ts anew.

import createClient from 'openapi-fetch';
import type { paths } from './api';

export const soloist = createClient<paths>({ baseUrl: '/' });

export async function countMessages(threadId: string | undefined): Promise<number> {
  if (!threadId) return 0;
  const { data, error } = await soloist.GET('/api/v1/threads/{thread_id}/messages', {
    params: { path: { thread_id: threadId }, query: { order: 'asc', limit: 100 } },
  });
  if (error) throw new Error(error.error.message);
  return data.data.length;
}
