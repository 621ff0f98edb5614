// Swagger UI over this service's own document, with FastAPI's options, and dark where the system is.

declare const SwaggerUIBundle: {
  (options: Record<string, unknown>): unknown;
  presets: { apis: unknown };
};

const darkMode = matchMedia('(prefers-color-scheme: dark)');
const applyTheme = () => document.documentElement.classList.toggle('dark-mode', darkMode.matches);
darkMode.addEventListener('change', applyTheme);
applyTheme();

SwaggerUIBundle({
  url: new URL('../openapi.json', import.meta.url).href,
  dom_id: '#swagger-ui',
  layout: 'BaseLayout',
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  presets: [SwaggerUIBundle.presets.apis],
  // Its default sends the document's address to a validator on the internet.
  validatorUrl: null,
});

export {};
