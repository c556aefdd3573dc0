"""What only the notebooks use: profiles, widgets, exercises. Nothing else imports this package."""
