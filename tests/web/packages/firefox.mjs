// Opens a host page in Firefox, asks in its widget and on the service's own page, and prints what is answered.
// Usage: node firefox.mjs HOST_PAGE CHAT_PAGE. Playwright drives only a Firefox of its own build.
import puppeteer from 'puppeteer-core';

const [hostPage, chatPage] = process.argv.slice(2);
const browser = await puppeteer.launch({ browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true });

/** Asks, and returns the answer once it has the element. */
async function ask(place, text, element) {
  const box = await place.waitForSelector('.composer textarea');
  await box.type(text);
  await box.press('Enter');
  await place.waitForSelector(`.message.assistant .text ${element}`);
  return place.$eval('.message.assistant .text', (shown) => shown.innerText);
}

try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(hostPage);
  const bubble = await page.waitForSelector('soloist-bubble');
  await bubble.evaluate((element) => element.open());
  const frame = await page.waitForFrame((one) => one.url().includes('/embed'));
  console.log(await ask(frame, 'from a **frame**', 'strong'));
  await page.goto(chatPage);
  console.log(await ask(page, 'code `a` and \\(b^2\\)', '.katex'));
} finally {
  await browser.close();
}
