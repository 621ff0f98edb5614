// Pictures of the host: the frame's policy shows those of the service and `data:` alone, so others are fetched here.

const LONGEST_WAIT_MS = 3_000;
const MOST_BYTES = 300_000;

/** An address that the frame can show; null where there is none, or it cannot be read. */
export async function pictureFor(address: string | null, service: string): Promise<string | null> {
  if (!address) return null;
  try {
    const url = new URL(address, document.baseURI);
    if (url.protocol === 'data:' || url.origin === service) return url.href;
    const response = await fetch(url, { signal: AbortSignal.timeout(LONGEST_WAIT_MS) });
    const picture = await response.blob();
    if (!response.ok || !picture.type.startsWith('image/') || picture.size > MOST_BYTES) throw new Error('no picture');
    return await asData(picture);
  } catch {
    console.error(`Soloist: ${address} is not a picture of at most ${MOST_BYTES / 1000} kB that this page may fetch.`);
    return null;
  }
}

function asData(picture: Blob): Promise<string> {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.readAsDataURL(picture);
  });
}
