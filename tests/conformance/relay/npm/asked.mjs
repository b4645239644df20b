// What the programs of this folder share: where they are pointed, and how they tell of a failure.
export const { URL_OF_GATEWAY: url, KEY: key, MODEL: model } = process.env;
export const picture = process.env.PICTURE;
export const cities = process.env.TWO_CITIES;
export const schema = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};

export async function failing(call) {
  try {
    await call();
    return 'no error';
  } catch (error) {
    const told = error.lastError ?? error;
    return { class: told.constructor.name, status: told.status ?? told.statusCode, message: told.message };
  }
}
