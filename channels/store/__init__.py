"""SQL of channels: views, figures, offers and the log by chat; directory, reports, sanctions."""
