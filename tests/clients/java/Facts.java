import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;

/** What the programs here share: facts told one a line, and streams read to their end. */
final class Facts {
    static void tell(String name, Object value) {
        System.out.println(name + "=" + String.valueOf(value).strip().replace("\r", "\\r").replace("\n", "\\n"));
    }

    static String text(InputStream stream) throws Exception {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        stream.transferTo(all);
        return all.toString(StandardCharsets.UTF_8);
    }

    /** Standard error has to be read beside standard output. */
    static Thread reading(InputStream stream, StringBuilder into) {
        Thread thread = new Thread(() -> {
            try {
                into.append(text(stream));
            } catch (Exception error) {
                into.append(error);
            }
        });
        thread.start();
        return thread;
    }
}
