"""`python main.py knowledge sync DIR`: keeps the assistant's vector store in step with a folder."""
