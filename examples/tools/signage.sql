CREATE TABLE screens (id TEXT PRIMARY KEY, name TEXT, site TEXT, state TEXT);
CREATE TABLE plays (screen_id TEXT, spot TEXT, day TEXT, seconds INTEGER, finished INTEGER);
CREATE TABLE outages (screen_id TEXT, day TEXT, minutes INTEGER);
INSERT INTO screens VALUES
    ('s1', 'Entrance', 'Airport', 'online'),
    ('s2', 'Gate 4', 'Airport', 'offline'),
    ('s3', 'Foyer', 'Museum', 'online');
INSERT INTO plays VALUES
    ('s1', 'Coffee', '2026-11-01', 15, 1),
    ('s1', 'Coffee', '2026-11-01', 15, 1),
    ('s1', 'Trains', '2026-11-01', 7, 0),
    ('s3', 'Coffee', '2026-11-02', 15, 1);
INSERT INTO outages VALUES ('s2', '2026-11-01', 95);
