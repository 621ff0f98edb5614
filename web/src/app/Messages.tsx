// The messages of the thread; loaded after the box to write in can be used.

import { ThreadPrimitive } from '@assistant-ui/react';
import { AssistantMessage } from './AssistantMessage';
import { EditQuestion, UserMessage } from './UserMessage';

const COMPONENTS = { UserMessage, AssistantMessage, UserEditComposer: EditQuestion };

export default function Messages() {
  return <ThreadPrimitive.Messages components={COMPONENTS} />;
}
