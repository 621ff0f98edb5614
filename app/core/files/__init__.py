"""Files: uploads, downloads, attachments, and the assistant's vector stores."""
