// The icons, drawn in the colour of the text around them.

const icon = (path: string) =>
  `<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" ` +
  `stroke-linejoin="round" xmlns="http://www.w3.org/2000/svg">${path}</svg>`;

export const ICONS = {
  send: icon('<path d="M12 19V5M5 12l7-7 7 7"/>'),
  stop: icon('<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor"/>'),
  attach: icon(
    '<path d="m21 11.5-8.6 8.6a5.6 5.6 0 0 1-8-8l8.6-8.5a3.7 3.7 0 0 1 5.3 5.3l-8.6 8.5a1.9 1.9 0 0 1-2.7-2.6l7.9-7.9"/>',
  ),
  newChat: icon('<path d="M12 20h9"/><path d="M16.5 3.5a2.1 2.1 0 0 1 3 3L7 19l-4 1 1-4Z"/>'),
  close: icon('<path d="M18 6 6 18M6 6l12 12"/>'),
  chat: icon('<path d="M21 12a8.5 8.5 0 0 1-8.5 8.5 8.7 8.7 0 0 1-3.8-.9L3 21l1.4-5.2A8.5 8.5 0 1 1 21 12Z"/>'),
  sun: icon('<circle cx="12" cy="12" r="4"/><path d="M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4"/>'),
  moon: icon('<path d="M21 12.8A9 9 0 1 1 11.2 3a7 7 0 0 0 9.8 9.8Z"/>'),
  copy: icon('<rect x="9" y="9" width="11" height="11" rx="2.5"/><path d="M5 15a2 2 0 0 1-1-1.7V6a2 2 0 0 1 2-2h7.3A2 2 0 0 1 15 5"/>'),
  down: icon('<path d="m6 9 6 6 6-6"/>'),
};
