"""What people read: tables, Markdown, JSON, plots and progress."""
