// The JDK's two HTTP clients as they are by default; prints one status a line.
import java.io.ByteArrayInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Client {
    public static void main(String[] args) throws Exception {
        URI uri = URI.create(args[0]);
        String body = "{\"text\": \"help\"}";
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
            ask(client, uri, BodyPublishers.ofString(body));
            ask(client, uri, BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes())));
        }
        HttpURLConnection old = (HttpURLConnection) uri.toURL().openConnection();
        old.setRequestMethod("POST");
        old.setDoOutput(true);
        old.getOutputStream().write(body.getBytes());
        System.out.println(old.getResponseCode());
    }

    static void ask(HttpClient client, URI uri, BodyPublisher body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(uri).POST(body).build();
        System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
    }
}
