// Soloist under PM2: run ./run.sh once, which sets .venv up, then pm2 start deploy/pm2.config.cjs
// Settings come from .env beside run.sh. One process serves one port; more of them are replicas, see docs/operations.md.
const path = require('node:path');

const root = path.resolve(__dirname, '..');

module.exports = {
  apps: [
    {
      name: 'soloist',
      cwd: root,
      script: 'main.py',
      interpreter: path.join(root, '.venv/bin/python'),
      // Longer than SHUTDOWN_GRACE_SECONDS, so that open streams can finish.
      kill_timeout: 30000,
      exp_backoff_restart_delay: 200,
    },
  ],
};
