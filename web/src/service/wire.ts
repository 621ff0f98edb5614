// What the service sends, as far as the app reads it.

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

export interface Annotation {
  type: string;
  text?: string;
  file_path?: { file_id: string };
  file_citation?: { file_id: string };
  url_citation?: { url: string; title: string };
}

export interface MessagePart {
  type?: string;
  text?: { value?: string; annotations?: Annotation[] };
  refusal?: string;
  image_file?: { file_id: string };
  image_url?: { url: string };
}

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  status: 'in_progress' | 'incomplete' | 'completed';
  content: MessagePart[];
  attachments: { file_id: string }[] | null;
  run_id: string | null;
}

export interface Thread {
  id: string;
  title: string | null;
  /** Unix time in seconds. */
  updated_at: number;
}

export interface AssistantObject {
  id: string;
  name: string | null;
  description: string | null;
  model: string;
  instructions: string | null;
  tools: { type: string; function?: { name: string; description?: string } }[];
  tool_resources: { file_search?: { vector_store_ids?: string[] } } | null;
}

export interface RunStep {
  step_details: {
    tool_calls?: {
      type: string;
      file_search?: { results?: { file_id: string; file_name: string; content?: { text?: string }[] }[] };
    }[];
  };
}

/** Where a piece of an answer comes from, in the flat form of `/chat`. */
export interface Source {
  type: string;
  /** Position in the answer's text that the source backs up, in characters. */
  index?: number;
  file_id?: string;
  filename?: string;
  url?: string;
  title?: string;
}

/** A tool at work, as the event `tool` tells it; without input and output where the operator hides them. */
export interface ToolEvent {
  id: string;
  name: string;
  status: string;
  input?: Record<string, unknown>;
  output?: unknown;
}

/** A call that a run waits for. */
export interface WaitingCall {
  id: string;
  name: string;
  arguments: string;
  approval?: 'required';
}

export interface Decision {
  tool_call_id: string;
  output: 'approve' | 'deny';
}

export interface RunObject {
  id: string;
  thread_id: string;
  status: string;
  usage: Usage | null;
  last_error: { message: string; code: string } | null;
  required_action: { submit_tool_outputs: { tool_calls: FunctionCall[] } } | null;
}

interface FunctionCall {
  id: string;
  approval?: 'required';
  function: { name: string; arguments: string };
}
